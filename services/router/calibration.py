"""How far predicted loss may be trusted: from scored prompts, the threshold that keeps an operator's bound.

A prompt is sent to the first model, in the order of preference, whose predicted loss is below a threshold. A harm is a
prompt whose chosen model is worse than the default (`services/router/harm.py`). From the calibrated prompts follows how
many are harmed at every threshold, and the threshold is the one below which that never exceeds what is tolerated:

- on average: conformal risk control (Angelopoulos et al. 2024, arXiv:2208.02814),
  (n/(n+1)) * mean harm + 1/(n+1) <= bound, with a margin: met exactly, half of all measured means would be above it. It
  asks for exchangeable draws, so where prompts are wordings of one question, n counts the questions: once with the mean
  harm of each one's wordings, once with every wording alike, and the stricter holds;
- with a confidence: learn then test (arXiv:2110.01052, fixed sequence), the test of "the mean harm exceeds the bound"
  being that of `services/router/harm_test.py`: the exact binomial tail where prompts were drawn one by one, a bet on
  groups where prompts of one group share their fate. A part of the error is kept for whoever holds the promise to
  finitely many requests, whose harm is a sample as well.

Both hold for prompts, or groups, drawn as the calibrated ones were. With a confidence that is exact for any number of
models; on average it is exact for one, and where several compete, so that harm may fall as the threshold grows, up to
the order of 1/n, which the margin covers in every measurement (`python -m benchmarks.routing.promise`).
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from services.router.harm_test import most_harms_of_groups, most_harms_of_prompts

_NEVER = np.float32(np.inf)
_MARGIN = 0.14  # in standard errors of the harms tolerated: two, of a mean over 200 calibrations
_ERROR_USED = 0.5  # share of 1 - confidence that calibrating may err with

Curve = tuple[NDArray[np.float32], NDArray[np.float64]]


def onsets(losses: NDArray[np.float32], harms: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The least threshold beyond which each prompt may be harmed, whichever model below it is chosen: float32 [n].

    Args:
        losses: predicted loss [n, m]; infinite where the prompt is never sent.
        harms: whether the model is worse than the default, [n, m].
    """
    found: NDArray[np.float32] = np.where(harms, losses, _NEVER).min(axis=1)
    return found


def harm_curve(losses: NDArray[np.float32], harms: NDArray[np.bool_], weights: NDArray[np.float64]) -> Curve:
    """Thresholds at which the harm changes, ascending, and the weights of all prompts harmed just above each.

    Args are as in `onsets`, models in the order of preference, which is every prompt's; weights are of prompts, [n].
    """
    preferred = np.full(losses.shape, _NEVER)
    preferred[:, 1:] = np.minimum.accumulate(losses, axis=1)[:, :-1]
    harmful = harms & (losses < preferred)  # chosen above its own loss, and up to that of a preferred one
    steps = np.concatenate([losses[harmful], preferred[harmful]])
    each = np.broadcast_to(weights[:, None], losses.shape)[harmful]
    changes = np.concatenate([each, -each])
    thresholds, place = np.unique(steps[np.isfinite(steps)], return_inverse=True)
    return thresholds, np.bincount(place, changes[np.isfinite(steps)], len(thresholds)).cumsum()


def tolerated_on_average(prompts: int, bound: float) -> int:
    """Most harms among `prompts` calibrated ones that keep the bound on average; -1 where even none would not."""
    return min(prompts, int(np.floor(bound * (prompts + 1) + 1e-9)) - 1)


@lru_cache(256)
def counted(bound: float, confidence: float | None) -> tuple[float, float | None]:
    """The bound to three digits, and its error, 1 - confidence, to two, both rounded down; None where there is none."""
    return _rounded_down(bound, 3), None if confidence is None else _rounded_down(1 - confidence, 2)


class Calibration:
    """Scored prompts kept out of the fit, from which a threshold is read for any bound and any models."""

    def __init__(
        self,
        models: Sequence[str],
        losses: NDArray[np.float32],
        harms: NDArray[np.bool_],
        groups: NDArray[np.integer] | None = None,
        remembered: int = 1024,
    ) -> None:
        """`losses` and `harms` are [n, len(models)], as in `onsets`.

        `groups` are n labels where prompts of one group share their fate, as wordings of one question do.
        """
        self._column = {name: column for column, name in enumerate(models)}
        self._seen: NDArray[np.bool_] = np.logical_or.reduce(np.isfinite(losses), axis=0)
        # Of whom anything can be promised.
        self.calibrated = {name for name, column in self._column.items() if self._seen[column]}
        self._losses, self._harms = losses, harms
        self._models = tuple(models)
        self._groups = None if groups is None else np.unique(groups, return_inverse=True)[1]
        if self._groups is not None and len(np.unique(self._groups)) == len(losses):
            self._groups = None
        self._weights = [np.ones(len(losses))]
        if self._groups is not None:
            sizes = np.bincount(self._groups)
            self._weights = [1 / sizes[self._groups], np.full(len(losses), len(sizes) / len(losses))]
        self._curve = lru_cache(remembered)(self._curve_of)
        self._greatest, self._onsets = lru_cache(remembered)(self._greatest_of), lru_cache(remembered)(self._onsets_of)
        self._remembered = lru_cache(remembered)(self._threshold)

    @property
    def prompts(self) -> int:
        """Number of calibrated prompts."""
        return len(self._losses)

    def only(self, rows: NDArray[np.intp]) -> "Calibration":
        """What some of the prompts tell by themselves, by place."""
        groups = None if self._groups is None else self._groups[rows]
        return Calibration(self._models, self._losses[rows], self._harms[rows], groups)

    @property
    def mean_losses(self) -> NDArray[np.float32]:
        """Mean predicted loss of each calibrated prompt over the calibrated models, [n]; infinite where unfamiliar."""
        if not self._seen.any():
            return np.full(self.prompts, _NEVER)
        found: NDArray[np.float32] = self._losses[:, self._seen].mean(axis=1)
        return found

    def threshold(
        self, models: tuple[str, ...], bound: float, confidence: float | None, in_order: bool = True
    ) -> float:
        """What a predicted loss must stay below; -inf where nothing can be promised, inf where all may be harmed.

        It is never beyond the calibrated losses, whatever the harm up to there. The bound counts to three digits, its
        error, 1 - confidence, to two, both rounded down, so that what was worked out for one caller serves others.

        Args:
            models: those that compete with the default, in the order of preference.
            bound: most harms, as a share of all prompts.
            confidence: with which that must hold; None for on average.
            in_order: whether that order is every prompt's; without it any model below the threshold may be chosen.
        """
        return self._remembered(models, *counted(bound, confidence), in_order)

    def _threshold(self, models: tuple[str, ...], bound: float, error: float | None, in_order: bool) -> float:
        if bound >= 1:
            return np.inf
        return min(self._greatest(models), self._kept(models, bound, error, in_order))

    def _kept(self, models: tuple[str, ...], bound: float, error: float | None, in_order: bool) -> float:
        """The threshold that the promise allows; infinite where nothing would harm."""
        if error is None:
            return self._on_average(models, bound, in_order)
        error *= _ERROR_USED
        if self._groups is None:
            return _first_beyond(self._curve(models, in_order), most_harms_of_prompts(self.prompts, bound, error))
        found, rows = self._onsets(models)
        tolerated = most_harms_of_groups(self._groups, rows, bound, error)
        if tolerated < 0:
            return -np.inf
        return float(found[rows[tolerated]]) if tolerated < self.prompts else np.inf

    def _on_average(self, models: tuple[str, ...], bound: float, in_order: bool) -> float:
        if self._groups is None:
            return self._of_prompts(self._curve(models, in_order), bound)
        allowed = bound * (self._groups.max() + 2)
        tolerated = allowed - 1 - _MARGIN * np.sqrt(allowed)
        return min(_first_beyond(self._curve(models, in_order, way), tolerated) for way in range(len(self._weights)))

    def _of_prompts(self, curve: Curve, bound: float) -> float:
        """With t harms tolerated the expected harm is (t+1)/(n+1), with one fewer t/(n+1): the margin lies between."""
        tolerated = tolerated_on_average(self.prompts, bound)
        above = _first_beyond(curve, tolerated)
        if tolerated <= 0 or not np.isfinite(above):
            return above
        below, allowed = _first_beyond(curve, tolerated - 1), bound * (self.prompts + 1)
        return below + float(np.clip(allowed - _MARGIN * np.sqrt(allowed) - tolerated, 0, 1)) * (above - below)

    def _onsets_of(self, models: tuple[str, ...]) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """Each prompt's onset, and the prompts in their order."""
        found = onsets(*self._of(models))
        return found, np.argsort(found, kind="stable")

    def _greatest_of(self, models: tuple[str, ...]) -> float:
        """Just above the greatest calibrated loss of these models."""
        losses, _ = self._of(models)
        known = losses[np.isfinite(losses)]
        return float(np.nextafter(known.max(), _NEVER)) if known.size else -np.inf

    def _of(self, models: tuple[str, ...]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        columns = [self._column[name] for name in models]
        return self._losses[:, columns], self._harms[:, columns]

    def _curve_of(self, models: tuple[str, ...], in_order: bool, way: int = 0) -> Curve:
        """`way` is of weighing prompts."""
        losses, harms = self._of(models)
        if in_order:
            return harm_curve(losses, harms, self._weights[way])
        found = onsets(losses, harms)
        return harm_curve(found[:, None], np.isfinite(found)[:, None], self._weights[way])


def _first_beyond(curve: Curve, tolerated: float) -> float:
    """The threshold just above which more is harmed than tolerated, for the first time."""
    thresholds, harmed = curve
    beyond = harmed > tolerated + 1e-9
    if tolerated < 0:
        return -np.inf
    return float(thresholds[beyond.argmax()]) if beyond.any() else np.inf


def _rounded_down(share: float, digits: int) -> float:
    """To so many significant digits, never up; nothing where it is less than a millionth."""
    if share < 1e-6:
        return 0.0
    scale = 10.0 ** (digits - 1 - math.floor(math.log10(share)))
    return min(share, math.floor(share * scale + 1e-9) / scale)
