"""What harm is: an answer that is worse than the strong model's by more than graders err, for whoever counts it."""

from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

WORSE_BY = 0.25  # of scores from 0 to 1: one grade of five, and more than the noise of most graders
_ROUNDING = 1e-9  # so that 0.35 is worse than 0.6, whatever their difference is in binary


@overload
def harms(score: float, strong: float) -> bool: ...


@overload
def harms(score: NDArray[Any], strong: NDArray[Any]) -> NDArray[np.bool_]: ...


def harms(score: float | NDArray[Any], strong: float | NDArray[Any]) -> bool | NDArray[np.bool_]:
    """Whether an answer of this score harms, where the strong model's answer to the same prompt has that one.

    Args:
        score: 0 to 1, or any array of these; not a number where unknown, which harms nobody.
        strong: of the strong model's answer, in a shape that broadcasts with it.
    """
    found = strong - score >= WORSE_BY - _ROUNDING
    return found if isinstance(found, np.ndarray) else bool(found)
