"""Sorts bounds by octaves, so that who allows few wrong answers gets none of those that others allow."""

import math

OCTAVES = 10


def octave(bound: float) -> int:
    """0 for a bound below 2^-9, then one more for each doubling, to `OCTAVES` - 1 for a half and more."""
    return min(max(math.frexp(bound)[1] + OCTAVES - 1, 0), OCTAVES - 1) if bound > 0 else 0
