"""Where asking a cheap model first and judging its answer is calibrated, and where it is expected to save.

A prompt goes to the cheap model unasked where its predicted loss is below a threshold; else the cheap model's answer is
kept where its risk (`services/router/risk.py`) is below the same one, if asking for it pays. So what a calibrated
prompt needs to be harmed is one number, and what calibrates routing calibrates both steps together.

Where it is not known of some prompts how sure the model was, two thresholds are read and the stricter holds: of the
others alone, which is right where that is missing by chance, and of all, as if those were harmed only unasked, which is
right where it will be missing of the same prompts again, as of answers that are cut off.

At the split of money and harm that a threshold stands for, a harm is worth the strong answer's cost over it. Asking
first pays where the cheap answer's share of that cost is below the mean of what is gained, 1 - risk / threshold where
that is positive, over the prompts of nearly the same predicted loss.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from services.router.calibration import Calibration
from services.router.risk import Check, Risk, fit_risk

LEAST_ANSWERS, LEAST_HARMS = 100, 10  # that a risk is fitted on
_FITTED_PART = 3  # one group in so many fits the risk, the others calibrate
_NEIGHBOURS = 100
_RARELY = 0.05


class Cascade:
    """One model asked first, before the default.

    Args:
        model: which.
        models: m names, of the columns.
        losses: predicted of n calibrated prompts, [n, m], infinite where unfamiliar.
        harms: whether the model was worse than the default, [n, m].
        groups: n labels of prompts that share their fate.
        certainty: how sure the model was of its answers, by one signal, [n]; not a number where unknown.
        cost_ratio: what its answer costs at most, as a share of the default's.
        repeats: how many more answers that signal takes.

    Raises:
        ValueError: too few answers of known certainty, or harms among them.
    """

    def __init__(
        self,
        model: str,
        models: Sequence[str],
        losses: NDArray[np.float32],
        harms: NDArray[np.bool_],
        groups: NDArray[np.integer],
        certainty: NDArray[np.float64],
        cost_ratio: float,
        repeats: int = 0,
    ) -> None:
        column, self._models = list(models).index(model), list(models)
        self.repeats, self._cost_ratio = repeats, cost_ratio
        told, fits = _told(losses[:, column], groups, certainty)
        known = told & np.isfinite(losses[:, column])
        fitted = known & fits
        if lacking := lack(losses[:, column], harms[:, column], groups, certainty):
            raise ValueError(f"{model}: {lacking}")
        order = np.argsort(losses[fitted, column], kind="stable")
        self._nearby_losses = losses[fitted, column][order].astype(np.float64)
        self._nearby_certainty = certainty[fitted][order]
        self.risk: Risk = fit_risk(self._nearby_losses, self._nearby_certainty, harms[fitted, column][order])
        left, told = losses[~fits], told[~fits]
        loss = left[:, column].astype(np.float64)
        risks = np.where(known[~fits], self.risk.of(loss, certainty[~fits]), np.inf)
        begins = np.where(np.isfinite(loss), self.begins(loss), np.inf)
        onset = left.copy()
        onset[:, column] = np.minimum(loss, np.maximum(risks, begins))
        harms, groups = harms[~fits], groups[~fits]
        counted = [told] if told.all() else [told, np.ones_like(told)]
        self._calibrations = [Calibration(models, onset[some], harms[some], groups[some]) for some in counted]
        self._routing = Calibration(models, left[told], harms[told], groups[told])
        self._losses, self._model = left[told], column
        self._risks, self._begins = risks[told].astype(np.float32), begins[told]

    def threshold(self, names: tuple[str, ...], bound: float, confidence: float | None) -> float:
        """As `Calibration.threshold`, for both steps together, whichever of `names` below it is chosen."""
        return min(one.threshold(names, bound, confidence, in_order=False) for one in self._calibrations)

    def begins(self, losses: NDArray[np.float64], cost_ratio: float = 0.0) -> NDArray[np.float64]:
        """The threshold beyond which asking first pays, for predicted losses [n]; infinite where it never does.

        With m of k neighbours' risks s below a threshold t the gain is (m - sum(s)/t) / k, most of all m if those are
        the least: so the threshold is the least of sum(s) / (m - ratio * k).
        """
        risks = np.sort(self._risks_nearby(losses), axis=1)
        counted = np.arange(1, risks.shape[1] + 1) - self._asking(cost_ratio) * risks.shape[1]
        pays = counted > 0
        if not pays.any():
            return np.full(len(losses), np.inf)
        found: NDArray[np.float64] = (risks.cumsum(axis=1)[:, pays] / counted[pays]).min(axis=1)
        return found

    def check(self, loss: float, threshold: float, cost_ratio: float) -> Check | None:
        """What an answer has to pass, where asking for it first pays; None elsewhere."""
        if self.begins(np.array([loss]), cost_ratio)[0] >= threshold:
            return None
        kept = float((self._risks_nearby(np.array([loss])) < threshold).mean())
        return Check(self.risk, loss, threshold, kept, self.repeats)

    def expected_saving(self, names: tuple[str, ...], bound: float, confidence: float | None) -> float:
        """What asking first is worth over the prompts that the risk was fitted on, a mean in answers of the default.

        Those are others than the promise is read from, and the threshold that is taken is that of routing alone, the
        same for each signal: else the signal would win that harms more than its calibration shows.
        """
        threshold = self._routing.threshold(names, bound, confidence, in_order=False)
        if threshold <= 0:
            return 0.0
        left = self._nearby_losses[self._nearby_losses >= threshold]
        worth = np.maximum(0, 1 - self._risks_nearby(left) / threshold).mean(axis=1) - self._asking()
        return float(np.maximum(0, worth).sum()) / len(self._nearby_losses)

    def saves(
        self, names: tuple[str, ...], bound: float, confidence: float | None, in_order: bool, costs: Mapping[str, float]
    ) -> bool:
        """Whether both steps cost less on the calibrated prompts than routing alone would, calibrated on the same ones.

        Args:
            names: those that compete with the default, in the order of preference.
            bound: most harms, as a share of all prompts.
            confidence: as for `threshold`.
            in_order: as for `Calibration.threshold`, of routing alone.
            costs: of an answer by model, the default's being 1.
        """
        threshold = self.threshold(names, bound, confidence)
        alone = self._direct(names, self._routing.threshold(names, bound, confidence, in_order), costs)
        ours = self._direct(names, threshold, costs)
        asked = costs[self._models[self._model]] * (1 + self.repeats) + (self._risks >= threshold)
        unasked = np.where(self._begins < threshold, asked, 1.0)
        saved = np.where(np.isnan(alone), 1.0, alone) - np.where(np.isnan(ours), unasked, ours)
        error = float(saved.std(ddof=1)) / np.sqrt(len(saved))
        return bool(saved.mean() > max(0.0, norm.isf(_RARELY) * error))

    def _direct(self, names: Sequence[str], threshold: float, costs: Mapping[str, float]) -> NDArray[np.float64]:
        """Cost of the model that answers each calibrated prompt unasked, [n]; not a number where none does."""
        found = np.full(len(self._losses), np.nan)
        for name in reversed(names):
            found[self._losses[:, self._models.index(name)] < threshold] = costs[name]
        return found

    def _asking(self, cost_ratio: float = 0.0) -> float:
        """What asking first costs at a price of the answer, or at least, as a share of the default's answer."""
        return max(cost_ratio, self._cost_ratio) * (1 + self.repeats)

    def _risks_nearby(self, losses: NDArray[np.float64]) -> NDArray[np.float64]:
        """What each of these losses [n] would make of the answers to the k prompts of the nearest losses, [n, k]."""
        size = min(_NEIGHBOURS, len(self._nearby_losses))
        places = np.searchsorted(self._nearby_losses, losses)
        starts = np.minimum(np.maximum(0, places - size // 2), len(self._nearby_losses) - size)
        return self.risk.of(losses[:, None], self._nearby_certainty[starts[:, None] + np.arange(size)])


def lack(
    losses: NDArray[np.float32],
    harms: NDArray[np.bool_],
    groups: NDArray[np.integer],
    certainty: NDArray[np.float64],
) -> str:
    """What is missing for a cascade of the model that these are of, all [n]; empty where it can be made."""
    told, fits = _told(losses, groups, certainty)
    known = told & np.isfinite(losses)
    answers, harmed = int((known & fits).sum()), int(harms[known & fits].sum())
    if answers < LEAST_ANSWERS:
        third = f"(the third that fits a risk, of {known.sum()})"
        return f"{answers} answers of known certainty {third}, expected at least {LEAST_ANSWERS}"
    if harmed < LEAST_HARMS:
        return f"{harmed} harms among the {answers} answers that fit a risk, expected at least {LEAST_HARMS}"
    return ""


def _told(
    losses: NDArray[np.float32], groups: NDArray[np.integer], certainty: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Of which prompts is known what would be kept, and which fit the risk, both [n]."""
    told = np.isfinite(certainty) | ~np.isfinite(losses)
    return told, _fitting(groups, told)


def _fitting(groups: NDArray[np.integer], told: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which prompts fit the risk, [n]: of groups with a prompt that is told, and of the others, each third one.

    So those that are left have as many of either kind, a share, as all.
    """
    found = np.zeros(len(groups), np.bool_)
    with_told = np.isin(groups, groups[told])
    for some in (with_told, ~with_told):
        found[some] = np.unique(groups[some], return_inverse=True)[1] % _FITTED_PART == 0
    return found
