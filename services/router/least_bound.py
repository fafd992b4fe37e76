"""How little may be lost for a calibration to promise anything: the fewer its prompts, the more."""

import math

from services.router.calibration import Calibration

_STEPS = 12


def least_bound(calibration: Calibration, models: tuple[str, ...], confidence: float | None) -> float:
    """The least bound, rounded up to a thousandth, under which one of these models may answer anything; 1 where none.

    Args:
        calibration: of the models, and more.
        models: the rivals of the default.
        confidence: with which the bound has to hold; None for on average.
    """
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if calibration.threshold(models, middle, confidence, in_order=False) == -math.inf:
            low = middle
        else:
            high = middle
    return math.ceil(1000 * high) / 1000
