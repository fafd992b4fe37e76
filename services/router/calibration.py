"""How far predicted loss may be trusted: from scored prompts, the threshold that keeps an operator's bound.

A prompt is sent to the cheapest model whose predicted loss is below a threshold. A harm is a prompt whose chosen model
is wrong where the default is right. Each calibrated prompt has an onset: the least threshold beyond which it is, or
once was, a harm. Harm so counted only grows with the threshold, which both promises need:

- on average: conformal risk control (Angelopoulos et al. 2024, arXiv:2208.02814),
  (n/(n+1)) * mean harm + 1/(n+1) <= bound;
- with a confidence: the exact binomial tail, P[Binomial(n, bound) <= harms] <= 1 - confidence, as an upper confidence
  bound on a risk that only grows (Bates et al. 2021, arXiv:2101.02703; fixed-sequence case of arXiv:2110.01052).

Both hold for prompts drawn as the calibrated ones were. The second also counts each as drawn by itself: many wordings
of few questions make it promise too much.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

_NEVER = np.inf


def onsets(losses: NDArray[np.float32], harms: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Each prompt's onset, sorted: float32 [n], infinite where no threshold harms it.

    Args:
        losses: predicted loss [n, m], models from cheapest to dearest; infinite where the prompt is never sent.
        harms: whether the model is wrong where the default is right, [n, m].
    """
    cheapest_before = np.full(losses.shape, _NEVER, np.float32)
    cheapest_before[:, 1:] = np.minimum.accumulate(losses, axis=1)[:, :-1]
    harmful = harms & (losses < cheapest_before)  # a model is chosen only below what every cheaper one needs
    found: NDArray[np.float32] = np.sort(np.where(harmful, losses, np.float32(_NEVER)).min(axis=1))
    return found


def tolerated_harms(prompts: int, bound: float, confidence: float | None) -> int:
    """Most harms among `prompts` calibrated ones that keep the bound; -1 where even none would not prove it."""
    if confidence is None:
        return min(prompts, int(np.floor(bound * (prompts + 1) + 1e-9)) - 1)
    if bound >= 1:
        return prompts
    low, high = -1, prompts  # the tail at `low` is small enough, at `high` it is one
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if bdtr(middle, prompts, bound) <= 1 - confidence else (low, middle)
    return low


class Calibration:
    """Scored prompts kept out of the fit, from which a threshold is read for any bound and any models."""

    def __init__(
        self,
        models: Sequence[str],
        losses: NDArray[np.float32],
        harms: NDArray[np.bool_],
        remembered_orders: int = 64,
    ) -> None:
        """`losses` and `harms` are [n, len(models)], as in `onsets` but in the order of `models`."""
        self._column = {name: column for column, name in enumerate(models)}
        self._losses, self._harms = losses, harms
        self._onsets = lru_cache(remembered_orders)(self._onsets_of)

    @property
    def prompts(self) -> int:
        """Number of calibrated prompts."""
        return len(self._losses)

    def threshold(self, models: tuple[str, ...], bound: float, confidence: float | None) -> float:
        """What a predicted loss must stay below; -inf where nothing can be promised, inf where nothing would harm.

        Args:
            models: those that compete with the default, cheapest first.
            bound: most harms, as a share of all prompts.
            confidence: with which that must hold; None for on average.
        """
        tolerated = tolerated_harms(self.prompts, bound, confidence)
        if tolerated < 0:
            return -np.inf
        return float(self._onsets(models)[tolerated]) if tolerated < self.prompts else np.inf

    def _onsets_of(self, models: tuple[str, ...]) -> NDArray[np.float32]:
        columns = [self._column[name] for name in models]
        return onsets(self._losses[:, columns], self._harms[:, columns])
