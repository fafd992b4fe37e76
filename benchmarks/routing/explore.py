"""What exploring tells: a router calibrated on few rows serves others, explores a share of them, and learns from it.

The last line is JSON, described in docs/learning.md.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.routing.__main__ import summary
from benchmarks.routing.promise import Rows, add_row_arguments, draw, prepared
from services.router.calibration import Calibration
from services.router.logged_decisions import Decision
from services.router.off_policy import estimated_harm, fair_sample
from services.router.scored import InvalidOutcomes

_STRONG = ""  # no model is called so


def served(rows: Rows, asked: NDArray[np.intp], threshold: float, explored: float, seed: int) -> Sequence[Decision]:
    """Decisions on these rows: all weaker models are scored where it was drawn, else the chosen one alone, if any."""
    drawn = np.random.default_rng(seed).uniform(size=len(asked)) < explored
    found = []
    for row, explores in zip(asked, drawn, strict=True):
        losses = dict(zip(rows.models, rows.losses[row].tolist(), strict=True))
        chosen = next((model for model in rows.models if losses[model] < threshold), None)
        harms = dict(zip(rows.models, rows.harms[row].tolist(), strict=True))
        scores = {model: 1.0 - harm for model, harm in harms.items() if explores or model == chosen}
        known = {_STRONG: 1.0, **scores}
        drawn_of_all, drawn_of_both = (explored, None) if explores else (None, 1 - explored)
        group = f"{rows.groups[row]}"
        found.append(Decision(group, False, losses, known, drawn_of_all, drawn_of_both, contested=losses))
    return found


def learnt(rows: Rows, decisions: Sequence[Decision]) -> Calibration:
    """The calibration that is read from them; nothing is promised where there is none."""
    whole = fair_sample(decisions, rows.models)
    losses = np.array([one.row(rows.models) for one in whole], np.float32).reshape(-1, len(rows.models))
    harms = np.array([[one.harmed(model, _STRONG) for model in rows.models] for one in whole], np.bool_)
    return Calibration(rows.models, losses, harms.reshape(losses.shape), np.array([int(one.group) for one in whole]))


def measured(
    rows: Rows, calibrated: NDArray[np.intp], live: NDArray[np.intp], asked: NDArray[np.intp], bound: float,
    explored: float, seed: int,
) -> Mapping[str, float]:  # fmt: skip
    """One router's life: calibrated, serving the live rows, and held to those asked before and after it has learnt."""
    first = Calibration(rows.models, rows.losses[calibrated], rows.harms[calibrated], rows.groups[calibrated])
    begun = first.threshold(rows.models, bound, None)
    decisions = served(rows, live, begun, explored, seed)
    after = learnt(rows, decisions).threshold(rows.models, bound, None)
    blind = [one for one in decisions if one.explored is None]
    without = learnt(rows, blind).threshold(rows.models, bound, None)
    found = {"explored": float(sum(one.explored is not None for one in decisions))}
    for name, threshold in (("before", begun), ("comparisons_alone", without), ("explored", after)):
        weak, harmed = rows.sent(asked, threshold)
        found |= {f"strong_share_{name}": 1 - float(weak.mean()), f"harm_{name}": float(harmed.mean())}
    found["strong_share_hindsight"] = rows.hindsight(asked, bound)
    model, true = rows.models[0], float(rows.harms[live, 0].mean())
    estimate = estimated_harm(decisions, model, _STRONG)
    of_served = [one.harmed(model, _STRONG) for one in decisions if one.explored is None and model in one.scores]
    if estimate:
        found |= {"true_harm": true, "estimated_harm": estimate.harm}
        found["interval_holds"] = float(estimate.low <= true <= estimate.high)
    if of_served:
        found["harm_of_served"] = float(np.mean(of_served))
    return found


def main() -> None:
    """Prints the measures over all draws as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_row_arguments(parser)
    parser.add_argument("--calibrated", type=int, required=True, help="rows of the first calibration, of those left")
    parser.add_argument("--live", type=int, required=True, help="rows that are served then; all others are evaluated")
    parser.add_argument("--explored", type=float, default=0.25, help="share of the live rows (default: %(default)s)")
    parser.add_argument("--draws", type=int, default=100, help="(default: %(default)s)")
    arguments = parser.parse_args()
    try:
        rows = prepared(arguments)
    except InvalidOutcomes as error:
        sys.exit(f"error: {error}")
    found = []
    for seed in range(arguments.draws):
        calibrated, others = draw(rows.groups, arguments.calibrated, seed)
        shuffled = np.random.default_rng(seed).permutation(others)
        live, asked = shuffled[: arguments.live], shuffled[arguments.live :]
        bound, explored = arguments.max_quality_loss, arguments.explored
        found.append(measured(rows, calibrated, live, asked, bound, explored, seed))
    print(json.dumps(summary(found)))


if __name__ == "__main__":
    main()
