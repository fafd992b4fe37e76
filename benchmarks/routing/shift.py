"""What becomes of the promise where prompts are others than those calibrated, with and without heed of the shift.

Rows are drawn so that small predicted losses, those near the middle, or great ones are more frequent than among the
calibrated rows; the first 500 tell the shift, the next 2,000 are held to the bound. A line of JSON for each mixture is
described in docs/objectives.md.
"""

import argparse
import json
import sys
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from benchmarks.routing.__main__ import summary
from benchmarks.routing.promise import Rows, add_row_arguments, draw, prepared
from services.router.calibration import Calibration
from services.router.drift import ShiftWatch
from services.router.scored import InvalidOutcomes

_TELLING, _HELD = 500, 2000  # rows drawn
MIXTURES = ("same", "small", "middle", "great")


def frequencies(losses: NDArray[np.float32], mixture: str) -> NDArray[np.float64]:
    """How likely each row is drawn, [n], by the rank of its loss."""
    rank = np.argsort(np.argsort(losses)) / len(losses)
    by_rank: NDArray[np.float64] = {
        "same": np.ones(len(losses)),
        "small": np.exp(-3 * rank),
        "middle": np.exp(-(((rank - 0.35) / 0.2) ** 2) / 2) + 0.1,
        "great": np.exp(3 * rank),
    }[mixture]
    by_rank /= by_rank.sum()
    return by_rank


def measured(rows: Rows, mixture: str, calibrated: int, bound: float, seed: int) -> Mapping[str, float]:
    """One calibration, held to rows of a mixture."""
    known, others = draw(rows.groups, calibrated, seed)
    told = Calibration(rows.models, rows.losses[known], rows.harms[known], rows.groups[known])
    likely = frequencies(rows.losses[others].mean(axis=1), mixture)
    drawn = np.random.default_rng(seed).choice(others, _TELLING + _HELD, p=likely)
    watch = ShiftWatch(told.mean_losses)
    for loss in rows.losses[drawn[:_TELLING]].mean(axis=1).tolist():
        watch.seen(loss)
    threshold = told.threshold(rows.models, bound, None)
    alike = threshold if watch.alike is None else told.only(watch.alike).threshold(rows.models, bound, None)
    found = {"shift": watch.shift}
    for name, allowed in (("as_calibrated", threshold), ("heeding_shift", min(threshold, alike))):
        weak, harmed = rows.sent(drawn[_TELLING:], allowed)
        found |= {f"harm_{name}": float(harmed.mean()), f"strong_share_{name}": 1 - float(weak.mean())}
    return found


def main() -> None:
    """Prints the measures of every mixture over all draws as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_row_arguments(parser)
    parser.add_argument("--calibrated", type=int, required=True, help="rows of one calibration, of those left")
    parser.add_argument("--draws", type=int, default=60, help="(default: %(default)s)")
    arguments = parser.parse_args()
    try:
        rows = prepared(arguments)
    except InvalidOutcomes as error:
        sys.exit(f"error: {error}")
    calibrated, bound = arguments.calibrated, arguments.max_quality_loss
    for mixture in MIXTURES:
        found = [measured(rows, mixture, calibrated, bound, seed) for seed in range(arguments.draws)]
        print(json.dumps({"mixture": mixture, **summary(found)}))


if __name__ == "__main__":
    main()
