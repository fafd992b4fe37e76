"""RouteLLM's measures of a ranking of prompts (Ong et al. 2024, arXiv:2406.18665): quality against strong calls.

The curve holds the mean score when the k prompts ranked highest go to the strong model, for every k. RouteLLM's own
script reads it at ten equal steps of k; `STEPS` does the same, so that figures compare.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STEPS = 10


@dataclass(frozen=True)
class Curve:
    """Mean score by number of strong calls; `quality` is float64 [n + 1], from always weak to always strong."""

    quality: NDArray[np.float64]

    @property
    def recovered(self) -> NDArray[np.float64]:
        """Share of the gap between weak and strong that is recovered (PGR), by number of strong calls."""
        found: NDArray[np.float64] = (self.quality - self.quality[0]) / (self.quality[-1] - self.quality[0])
        return found

    @property
    def stepped(self) -> NDArray[np.float64]:
        """PGR at each tenth of strong calls, float64 [11]."""
        shares = np.linspace(0, 1, len(self.quality))
        return np.interp(np.linspace(0, 1, STEPS + 1), shares, self.recovered)

    @property
    def apgr(self) -> float:
        """Average PGR over all shares of strong calls: 0.5 for chance."""
        return float(np.trapezoid(self.stepped, dx=1 / STEPS))

    def cpt(self, recovered: float) -> float:
        """Percent of strong calls from which this share of the gap is recovered."""
        steps = self.stepped
        after = int(np.argmax(steps >= recovered - 1e-12))
        within = (recovered - steps[after - 1]) / (steps[after] - steps[after - 1])
        return float(100 * (after - 1 + within) / STEPS)

    def calls_for(self, quality: float) -> int:
        """Fewest strong calls with at least this mean score, at any number of calls."""
        return int(np.argmax(self.quality >= quality - 1e-12))


def curve(gains: NDArray[np.float64], strong: NDArray[np.float64], weak: NDArray[np.float64]) -> Curve:
    """The curve when prompts go to the strong model by descending predicted gain, each [n]; ties keep their order."""
    order = np.argsort(-gains, kind="stable")
    added = np.concatenate([[0.0], np.cumsum((strong - weak)[order])])
    return Curve(weak.mean() + added / len(gains))
