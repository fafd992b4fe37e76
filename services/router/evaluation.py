"""What a predictor's choices would have given on scored prompts, beside choices that know nothing of the prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.router.harm import harms

_STEPS = 200


@dataclass(frozen=True)
class Point:
    """Mean cost and mean score of one way to choose."""

    cost: float
    score: float


@dataclass(frozen=True)
class Predicted:
    """n prompts as predicted and as they turned out, for m models.

    Args:
        models: m names; `default` is the place of the one that losses are relative to.
        quality: predicted, [n, m], as is `losses`; infinite losses where the prompt is never sent.
        scores: what the models got, [n, m].
        costs: of each answer, [n, m], in any one unit.
        domains: n labels.
    """

    models: Sequence[str]
    default: int
    quality: NDArray[np.float64]
    losses: NDArray[np.float64]
    scores: NDArray[np.float64]
    costs: NDArray[np.float64]
    domains: Sequence[str]

    def point(self, chosen: NDArray[np.intp], rows: NDArray[np.bool_] | None = None) -> Point:
        """What choosing these models, [n], gives; on some rows alone where told."""
        places = np.flatnonzero(rows) if rows is not None else np.arange(len(chosen))
        picked = chosen[places]
        return Point(float(self.costs[places, picked].mean()), float(self.scores[places, picked].mean()))

    def always(self, model: int, rows: NDArray[np.bool_] | None = None) -> Point:
        """What one model for everything gives."""
        return self.point(np.full(len(self.scores), model), rows)

    def within(self, threshold: float) -> NDArray[np.intp]:
        """The cheapest model whose predicted loss is below a threshold, else the default: [n], as served."""
        order = np.argsort(self.costs.mean(axis=0), kind="stable")
        order = order[: list(order).index(self.default)]
        chosen = np.full(len(self.losses), self.default)
        for model in reversed(order):
            chosen[self.losses[:, model] < threshold] = model
        return chosen

    def harm(self, chosen: NDArray[np.intp], rows: NDArray[np.bool_] | None = None) -> float:
        """Share of prompts whose model was worse than the default; of some rows alone where told."""
        harmed = harms(self.scores[np.arange(len(chosen)), chosen], self.scores[:, self.default])
        return float(harmed[rows].mean()) if rows is not None else float(harmed.mean())

    def harm_as_predicted(self, model: int) -> Sequence[tuple[float, float, int]]:
        """In bins of equal size by predicted loss: mean loss, share harmed, prompts; unfamiliar prompts are in none."""
        familiar = np.isfinite(self.losses[:, model])
        harmed = harms(self.scores[familiar, model], self.scores[familiar, self.default])
        return calibration_of(self.losses[familiar, model], harmed.astype(np.float64))

    def curve(self) -> Sequence[Point]:
        """What the service's choices give, from the strictest threshold to none."""
        finite = self.losses[np.isfinite(self.losses)]
        levels = np.quantile(finite, np.linspace(0, 1, _STEPS)) if len(finite) else np.zeros(0)
        return [self.point(self.within(level)) for level in (*levels, np.inf)]

    def frontier(self, quality: NDArray[np.float64]) -> Sequence[Point]:
        """Best predicted quality less cost at every exchange rate between them, from the dearest to the cheapest."""
        rates = np.concatenate(([0.0], np.geomspace(1e-3, 1e4, _STEPS) / self.costs.mean()))
        return [self.point(np.argmax(quality - rate * self.costs, axis=1)) for rate in rates]

    def random(self, cost: float) -> float:
        """Mean score of choosing by chance between the cheapest model and the default at a mean cost."""
        cheap, strong = self.always(int(self.costs.mean(axis=0).argmin())), self.always(self.default)
        if strong.cost <= cheap.cost:
            return strong.score
        share = min(1.0, max(0.0, (cost - cheap.cost) / (strong.cost - cheap.cost)))
        return cheap.score + share * (strong.score - cheap.score)

    def by_domain(self, chosen: NDArray[np.intp]) -> Mapping[str, tuple[int, Point, Point, Point]]:
        """For each domain: prompts, what was chosen, always-cheap, always-strong."""
        cheap = int(self.costs.mean(axis=0).argmin())
        names, labels = sorted(set(self.domains)), np.array(self.domains)
        rows = {name: labels == name for name in names}
        return {
            name: (
                int(seen.sum()),
                self.point(chosen, seen),
                self.always(cheap, seen),
                self.always(self.default, seen),
            )
            for name, seen in rows.items()
        }


def cost_at(points: Sequence[Point], score: float) -> float:
    """The least cost of a point with at least this score; infinite where none has."""
    return min((point.cost for point in points if point.score >= score - 1e-12), default=float("inf"))


def calibration_of(
    predicted: NDArray[np.float64], right: NDArray[np.float64], bins: int = 10
) -> Sequence[tuple[float, float, int]]:
    """In bins of equal size by prediction: mean prediction, mean score, prompts."""
    parts = np.array_split(np.argsort(predicted, kind="stable"), bins)
    return [(float(predicted[rows].mean()), float(right[rows].mean()), len(rows)) for rows in parts if len(rows)]
