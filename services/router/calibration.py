"""How far predicted loss may be trusted: from scored prompts, the threshold that keeps an operator's bound.

A prompt is sent to the first model, in the order of preference, whose predicted loss is below a threshold. A harm is a
prompt whose chosen model is wrong where the default is right. Each calibrated prompt has an onset: the least threshold
beyond which it is, or once was, a harm. Harm so counted only grows with the threshold, which both promises need:

- on average: conformal risk control (Angelopoulos et al. 2024, arXiv:2208.02814),
  (n/(n+1)) * mean harm + 1/(n+1) <= bound;
- with a confidence: learn then test (arXiv:2110.01052, fixed sequence), the test of "the mean harm exceeds the bound"
  being that of `services/router/harm_test.py`: the exact binomial tail where prompts were drawn one by one, a bet on
  groups where prompts of one group share their fate.

Both hold for prompts, or groups, drawn as the calibrated ones were, and however many models compete.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from services.router.harm_test import most_harms_of_groups, most_harms_of_prompts

_NEVER = np.inf


def onsets(losses: NDArray[np.float32], harms: NDArray[np.bool_], in_order: bool = True) -> NDArray[np.float32]:
    """Each prompt's onset: float32 [n], infinite where no threshold harms it.

    Args:
        losses: predicted loss [n, m], in the order of preference; infinite where the prompt is never sent.
        harms: whether the model is wrong where the default is right, [n, m].
        in_order: whether that order is every prompt's; without it any model below the threshold may be chosen.
    """
    harmful = harms
    if in_order:  # a model is chosen only below what every preferred one needs
        preferred = np.full(losses.shape, _NEVER, np.float32)
        preferred[:, 1:] = np.minimum.accumulate(losses, axis=1)[:, :-1]
        harmful = harms & (losses < preferred)
    found: NDArray[np.float32] = np.where(harmful, losses, np.float32(_NEVER)).min(axis=1)
    return found


def tolerated_on_average(prompts: int, bound: float) -> int:
    """Most harms among `prompts` calibrated ones that keep the bound on average; -1 where even none would not."""
    return min(prompts, int(np.floor(bound * (prompts + 1) + 1e-9)) - 1)


class Calibration:
    """Scored prompts kept out of the fit, from which a threshold is read for any bound and any models."""

    def __init__(
        self,
        models: Sequence[str],
        losses: NDArray[np.float32],
        harms: NDArray[np.bool_],
        groups: NDArray[np.integer] | None = None,
        remembered: int = 256,
    ) -> None:
        """`losses` and `harms` are [n, len(models)], as in `onsets` but in the order of `models`.

        `groups` are n labels where prompts of one group share their fate, as wordings of one question do.
        """
        self._column = {name: column for column, name in enumerate(models)}
        self._losses, self._harms = losses, harms
        self._groups = None if groups is None else np.unique(groups, return_inverse=True)[1]
        if self._groups is not None and len(self._groups) and self._groups.max() + 1 == len(self._groups):
            self._groups = None
        self._ordered = lru_cache(remembered)(self._ordered_onsets)
        self.threshold = lru_cache(remembered)(self._threshold)

    @property
    def prompts(self) -> int:
        """Number of calibrated prompts."""
        return len(self._losses)

    def _threshold(
        self, models: tuple[str, ...], bound: float, confidence: float | None, in_order: bool = True
    ) -> float:
        """What a predicted loss must stay below; -inf where nothing can be promised, inf where nothing would harm.

        Args:
            models: those that compete with the default, in the order of preference.
            bound: most harms, as a share of all prompts.
            confidence: with which that must hold; None for on average.
            in_order: as in `onsets`.
        """
        ordered, rows = self._ordered(models, in_order)
        if confidence is None:
            tolerated = tolerated_on_average(self.prompts, bound)
        elif self._groups is None:
            tolerated = most_harms_of_prompts(self.prompts, bound, 1 - confidence)
        else:
            tolerated = most_harms_of_groups(self._groups, rows, bound, 1 - confidence)
        if tolerated < 0:
            return -np.inf
        return float(ordered[tolerated]) if tolerated < self.prompts else np.inf

    def _ordered_onsets(self, models: tuple[str, ...], in_order: bool) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """Onsets in ascending order, and whose they are; both [n]."""
        columns = [self._column[name] for name in models]
        found = onsets(self._losses[:, columns], self._harms[:, columns], in_order)
        rows = np.argsort(found, kind="stable")
        return found[rows], rows
