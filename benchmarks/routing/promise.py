"""Whether the promises hold: many calibrations on rows that nothing was fitted on, each held to all other such rows.

The last line is JSON, described in docs/objectives.md.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.routing.__main__ import summary
from benchmarks.routing.embedding import embedded
from services.router.calibration import Calibration
from services.router.ensemble import fit_ensemble
from services.router.features import lexical
from services.router.fit import targets
from services.router.harm import harms
from services.router.prior import without_heads
from services.router.scored import InvalidOutcomes, read_scored
from services.router.spelled import mended


@dataclass(frozen=True)
class Rows:
    """n rows that nothing was fitted on.

    Args:
        models: m names of those that compete with the strong model, in the order of preference.
        losses: predicted, [n, m].
        harms: whether the model is worse than the strong one, [n, m].
        groups: number of the question that a row asks, [n].
    """

    models: tuple[str, ...]
    losses: NDArray[np.float32]
    harms: NDArray[np.bool_]
    groups: NDArray[np.intp]

    def sent(self, rows: NDArray[np.intp], threshold: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which rows go to a weaker model at a threshold, and which of them it answers worse."""
        below = self.losses[rows] < threshold
        weak = np.asarray(below.any(axis=1))
        harmed: NDArray[np.bool_] = weak & self.harms[rows, below.argmax(axis=1)]
        return weak, harmed

    def hindsight(self, rows: NDArray[np.intp], bound: float) -> float:
        """The least share of strong calls with harm within the bound, had it been known: at the best threshold."""
        least = 1.0
        for threshold in np.quantile(self.losses[rows], np.linspace(0, 1, 401)):
            weak, harmed = self.sent(rows, threshold)
            if harmed.mean() <= bound:
                least = min(least, 1 - float(weak.mean()))
        return least


def measured(
    rows: Rows, calibrated: NDArray[np.intp], asked: NDArray[np.intp], bound: float, confidence: float
) -> Mapping[str, float]:
    """One calibration, held to the rows asked."""
    calibration = Calibration(rows.models, rows.losses[calibrated], rows.harms[calibrated], rows.groups[calibrated])
    alone = Calibration(rows.models, rows.losses[calibrated], rows.harms[calibrated])
    weak, harmed = rows.sent(asked, calibration.threshold(rows.models, bound, None))
    sure, broken = rows.sent(asked, calibration.threshold(rows.models, bound, confidence))
    _, naive = rows.sent(asked, alone.threshold(rows.models, bound, confidence))
    return {
        "harm": float(harmed.mean()),
        "strong_share": 1 - float(weak.mean()),
        "strong_share_hindsight": rows.hindsight(asked, bound),
        "confident_harm": float(broken.mean()),
        "confident_strong_share": 1 - float(sure.mean()),
        "draws_over_bound": float(broken.mean() > bound),
        "draws_over_bound_without_groups": float(naive.mean() > bound),
    }


def draw(groups: NDArray[np.intp], calibrated: int, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows of whole groups at random, about as many as asked for, and all the others."""
    order = np.random.default_rng(seed).permutation(groups.max() + 1)
    sizes = np.bincount(groups)[order]
    chosen = np.isin(groups, order[: max(1, int(np.searchsorted(sizes.cumsum(), calibrated)))])
    return np.flatnonzero(chosen), np.flatnonzero(~chosen)


def prepared(arguments: argparse.Namespace) -> Rows:
    """Fits losses on some of the groups; the rows of the others."""
    scored = read_scored([arguments.outcomes]).only(arguments.models)
    scored = scored.at(np.flatnonzero(np.isfinite(scored.scores).all(axis=1)))
    groups = _groups(scored.prompts, arguments.outcomes, arguments.group_by)
    kept = arguments.embeddings / (arguments.outcomes.name.split(".")[0] + ".npy") if arguments.embeddings else None
    whole = read_scored([arguments.outcomes])
    place = {prompt: row for row, prompt in enumerate(whole.prompts)}
    vectors = embedded(whole, kept)[[place[prompt] for prompt in scored.prompts]]
    facts = np.array([lexical(prompt) for prompt in scored.prompts])
    harmed = harms(scored.scores[:, :-1], scored.scores[:, -1:])
    fitted, others = draw(groups, arguments.fitted, seed=1_000_000)
    if len(others) < 2 * arguments.calibrated:
        got = f"{arguments.calibrated} of {len(others)} rows left by --fitted"
        raise InvalidOutcomes(f"--calibrated: got {got}, expected at most half, so that as many are evaluated")
    near = vectors[fitted], facts[fitted]
    domains = [scored.domains[row] for row in fitted]
    wanted = targets({model: scored.of(model)[fitted] for model in scored.models}, arguments.models[-1])
    ensemble, _ = fit_ensemble(
        without_heads(*near), *near, wanted, domains, len(scored.models), groups[fitted].tolist()
    )
    predicted = ensemble.predict(vectors[others], facts[others])[:, len(scored.models) : -1]
    left = np.unique(groups[others], return_inverse=True)[1]
    return Rows(tuple(arguments.models[:-1]), predicted, harmed[others], left)


def _groups(prompts: Sequence[str], path: Path, field: str | None) -> NDArray[np.intp]:
    if field is None:
        return np.arange(len(prompts))
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        by_prompt = {mended(row["prompt"]): f"{row.get('domain')} {row[field]}" for row in map(json.loads, lines)}
    return np.unique([by_prompt[prompt] for prompt in prompts], return_inverse=True)[1]


def add_row_arguments(parser: argparse.ArgumentParser) -> None:
    """What `prepared` reads, and the bound."""
    parser.add_argument("--outcomes", type=Path, required=True)
    parser.add_argument("--models", nargs="+", required=True, help="in the order of preference, the strong one last")
    parser.add_argument("--fitted", type=int, required=True, help="rows that the losses are fitted on, once")
    parser.add_argument("--max-quality-loss", type=float, required=True)
    parser.add_argument("--group-by", help="field of a row that, with its domain, names the question it asks")
    parser.add_argument("--embeddings", type=Path, help="folder that keeps what the encoder says of each file")


def main() -> None:
    """Prints the measures over all draws as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_row_arguments(parser)
    parser.add_argument("--calibrated", type=int, required=True, help="rows of one calibration, of those left")
    parser.add_argument("--confidence", type=float, default=0.9, help="(default: %(default)s)")
    parser.add_argument("--draws", type=int, default=200, help="(default: %(default)s)")
    arguments = parser.parse_args()
    try:
        rows = prepared(arguments)
    except InvalidOutcomes as error:
        sys.exit(f"error: {error}")
    found = [
        measured(rows, *draw(rows.groups, arguments.calibrated, seed), arguments.max_quality_loss, arguments.confidence)
        for seed in range(arguments.draws)
    ]
    print(json.dumps(summary(found)))


if __name__ == "__main__":
    main()
