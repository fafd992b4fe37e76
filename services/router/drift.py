"""Whether the promise still holds in traffic: a bet on judged harms against the bound, and how far predictions moved.

Harm: of the answers that a weaker model gave, some have the strong model's answer scored beside theirs. The bound
allows such an answer a harm with chance bound / share of weaker answers. A stake grows with each harm and shrinks with
each answer that did none; as long as the bound is kept it grows past `_RARELY` no sooner than after as many judged
answers on average (Shiryaev-Roberts e-detector; Shin, Ramdas and Rinaldo 2023, arXiv:2203.03532). Past it, the strong
model answers everything until a new calibration is loaded: a weaker model that is not asked does no harm.
A comparison without a verdict is no harm that was seen, and bets nothing. Equal words need no judge, so they bet as
often as the judge lately told of the others: else, the more it fails, the more would the good news be alone.

Shift: the predicted losses of the last prompts, beside those of the calibrated ones, by the population stability index.
It says that the promise was made for other prompts, not that it is broken. So it warns, and tells which calibrated
prompts are a fair sample of the last ones by predicted loss: drawn by chance, each as likely as prompts of its loss
have become more frequent. A threshold that holds on these as well is right where a loss still means the same harm.
"""

from bisect import bisect_right
from dataclasses import dataclass
from enum import Enum
from math import isfinite, log2

import numpy as np
import structlog
from numpy.typing import NDArray

_RARELY = 5_000
_BETS = np.array([0.5, 1.0, 2.0, 4.0, 8.0])  # on a harm; the more it exceeds what is allowed the higher one wins
_MOST_LOST = 0.9  # of a stake in one bet
_MEMORY = 1_000  # decisions that the mean bound and the share of weaker answers are of
_JUDGED_LATELY = 50  # comparisons that the share with a verdict is of
_LEAST_MAGNITUDE = -14  # a power of two: bounds are told apart no further
_BLOCK, _BINS, SHIFTED = 500, 10, 0.25  # 0.25 is what the index's users call a major shift; chance gives 0.02


class Basis(Enum):
    """What a pair of scores rests on: somebody's judgement, equal words, or nothing, as no verdict was to be had."""

    JUDGED = "judged"
    EQUAL_WORDS = "shadow:equality"
    NO_VERDICT = "shadow:unresolved"

    @classmethod
    def of(cls, source: str) -> "Basis":
        """By the source of the scores."""
        return next((one for one in (cls.EQUAL_WORDS, cls.NO_VERDICT) if one.value == source), cls.JUDGED)


@dataclass(frozen=True, slots=True)
class PromiseState:
    """What is known of the promise: whether it is suspended, weaker answers judged and harms among them, and shift."""

    suspended: bool
    judged: int
    harmed: int
    shift: float


class HarmWatches:
    """A bet for each magnitude of callers' bounds: a strict caller's harms do not vanish among a lax one's, nor is the
    one's promise suspended by the other."""

    def __init__(self) -> None:
        self._watches: dict[int, HarmWatch] = {}

    def of(self, bound: float) -> "HarmWatch":
        """The watch of bounds within a factor of two of this one."""
        magnitude = max(_LEAST_MAGNITUDE, round(log2(bound))) if bound > 0 else _LEAST_MAGNITUDE
        found = self._watches.get(magnitude)
        if found is None:
            found = self._watches[magnitude] = HarmWatch()
        return found

    def decided(self, bound: float, weak: bool) -> None:
        """One more decision under a bound: whether a weaker model answers, as far as that is known yet."""
        self.of(bound).decided(weak, bound)

    def kept(self, bound: float) -> None:
        """Of a decision under a bound that was to be assessed: a weaker model's answer is served after all."""
        self.of(bound).kept()

    def judge(self, bound: float, harmed: bool, basis: Basis = Basis.JUDGED) -> None:
        """A weaker answer under a bound, with the strong model's beside it: whether it is worse than that."""
        self.of(bound).judge(harmed, basis)

    @property
    def suspended(self) -> bool:
        """Whether the promise is, for any of them."""
        return any(watch.suspended for watch in self._watches.values())

    @property
    def judged(self) -> int:
        """Answers, of all."""
        return sum(watch.judged for watch in self._watches.values())

    @property
    def harmed(self) -> int:
        """Harms, of all."""
        return sum(watch.harmed for watch in self._watches.values())


class HarmWatch:
    """The bet on harms under bounds of one magnitude."""

    def __init__(self) -> None:
        self.suspended = False
        self.judged = self.harmed = 0
        self._decisions = 0
        self._share = self._bound = 0.0
        self._compared, self._told = 0, 1.0
        self._stakes = np.zeros(len(_BETS))

    def decided(self, weak: bool, bound: float) -> None:
        """One more decision: whether a weaker model answers, and how much harm its caller allows."""
        self._decisions += 1
        weight = 1 / min(self._decisions, _MEMORY)
        self._share += weight * (weak - self._share)
        self._bound += weight * (bound - self._bound)

    def kept(self) -> None:
        """A decision that counted as the strong model's is a weaker one's, as its answer was good enough."""
        self._share = min(1.0, self._share + 1 / min(max(1, self._decisions), _MEMORY))

    @property
    def allowed(self) -> float:
        """The chance of harm that the bound allows a weaker answer."""
        return min(1.0, self._bound / self._share) if self._share > 0 else 1.0

    def judge(self, harmed: bool, basis: Basis = Basis.JUDGED) -> None:
        """A weaker answer with the strong model's beside it: whether it is worse than that."""
        if basis is not Basis.EQUAL_WORDS:
            self._compared += 1
            told = basis is Basis.JUDGED
            self._told += (told - self._told) / min(self._compared, _JUDGED_LATELY)
        if basis is Basis.NO_VERDICT:
            return
        part = self._told if basis is Basis.EQUAL_WORDS else 1.0
        allowed = max(self.allowed, 1e-4)
        bets = np.minimum(_BETS, _MOST_LOST / allowed)
        self._stakes = np.minimum((self._stakes + part) * (1 + part * bets * (harmed - allowed)), 1e12)
        self.judged += 1
        self.harmed += harmed
        if self._stakes.mean() >= _RARELY and not self.suspended:
            self.suspended = True
            structlog.get_logger("router").error(
                "promise suspended: weaker models harm more than the bound allows, so the default model answers",
                judged=self.judged,
                harmed=self.harmed,
                allowed_share=round(allowed, 4),
                remedy="calibrate on recent outcomes and load the new artefact",
            )


class ShiftWatch:
    """The population stability index of predicted losses, block by block."""

    def __init__(self, calibrated: NDArray[np.float32]) -> None:
        """`calibrated` are mean predicted losses of the calibrated prompts, [n]; infinite where unfamiliar."""
        self.shift = 0.0
        self.alike: NDArray[np.intp] | None = (
            None  # places of the calibrated prompts that are like the last; all if None
        )
        known = calibrated[np.isfinite(calibrated)]
        self._edges = np.unique(np.quantile(known, np.linspace(0, 1, _BINS + 1)[1:-1])) if len(known) else np.zeros(0)
        self._of_calibrated = self._bins(calibrated)
        self._expected = self._shares(np.bincount(self._of_calibrated, minlength=len(self._edges) + 2))
        self._ascending = self._edges.tolist()
        self._counts, self._seen = [0] * len(self._expected), 0

    def seen(self, loss: float) -> None:
        """One more prompt's mean predicted loss, infinite where it is unfamiliar."""
        self._counts[bisect_right(self._ascending, loss) if isfinite(loss) else -1] += 1
        self._seen += 1
        if self._seen < _BLOCK:
            return
        found = self._shares(np.array(self._counts))
        shift = float(((found - self._expected) * np.log(found / self._expected)).sum())
        if shift > SHIFTED >= self.shift:
            structlog.get_logger("router").warning(
                "prompts differ from those calibrated: promises were made for others",
                shift=round(shift, 3),
                prompts=_BLOCK,
                remedy="calibrate on recent outcomes and load the new artefact",
            )
        self.shift = shift
        self.alike = self._drawn(found) if self.shifted else None
        self._counts, self._seen = [0] * len(self._expected), 0

    @property
    def shifted(self) -> bool:
        """Whether the last block's prompts are others than those calibrated."""
        return self.shift > SHIFTED

    def _drawn(self, found: NDArray[np.float64]) -> NDArray[np.intp]:
        """The calibrated prompts that stand for shares like these, each kept by chance; places [k]."""
        likely = (found / self._expected)[self._of_calibrated]
        return np.flatnonzero(np.random.default_rng(0).uniform(size=len(likely)) * likely.max(initial=0) < likely)

    def _bins(self, losses: NDArray[np.float32]) -> NDArray[np.intp]:
        """Between which edges; the last bin is that of unfamiliar prompts."""
        familiar = np.searchsorted(self._edges, losses, side="right")
        return np.where(np.isfinite(losses), familiar, len(self._edges) + 1)

    @staticmethod
    def _shares(counts: NDArray[np.intp]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
        return found
