"""Sorts bounds by octaves, so that who allows few wrong answers gets none of those that others allow."""

from bisect import bisect_right

OCTAVES = 10
_BEGIN = [2.0**power for power in range(1 - OCTAVES, 0)]


def octave(bound: float) -> int:
    """0 for a bound below 2^-9, then one more for each doubling, to `OCTAVES` - 1 for a half and more."""
    return bisect_right(_BEGIN, bound) if bound > 0 else 0
