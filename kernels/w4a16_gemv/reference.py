"""Group-wise 4-bit weights: how they are made and packed, and their product in float64."""

from typing import Any

import numpy as np

ZERO = 8
LARGEST_STEP = 7
_SHIFTS = (4 * np.arange(4)[:, None, None] + 16 * np.arange(2)).astype(np.uint32)  # of [part, word, half]


def quantise(weight: Any, group: int) -> tuple[Any, Any]:
    """`[outputs, features]` to packed int8 `[outputs, features / 2]` and float32 scales `[outputs, features / group]`.

    Bits 16 h + 4 n of the little-endian word j of a group hold step n group / 4 + 2 j + h, plus 8.
    """
    outputs, features = weight.shape
    if features % group or group % 8:
        raise ValueError(f"group: got {group}, expected a divisor of {features} and multiple of 8")
    blocks = np.asarray(weight, np.float32).reshape(outputs, features // group, group)
    scales = np.abs(blocks).max(-1) / np.float32(LARGEST_STEP)
    steps = np.rint(blocks / np.where(scales == 0, np.float32(1), scales)[..., None]).astype(np.int64) + ZERO
    parts = steps.astype(np.uint32).reshape(outputs, features // group, 4, group // 8, 2)
    words = np.bitwise_or.reduce(np.bitwise_or.reduce(parts << _SHIFTS, axis=4), axis=2)
    return words.astype("<u4").view(np.int8).reshape(outputs, features // 2), scales


def dequantise(packed: Any, scales: Any) -> Any:
    """The weights `[outputs, features]` that `quantise` kept, float64."""
    outputs, groups = scales.shape
    words = np.ascontiguousarray(packed).view("<u4").reshape(outputs, groups, 1, -1, 1)
    steps = ((words >> _SHIFTS) & 15).astype(np.float64) - ZERO
    return (steps.reshape(outputs, groups, -1) * np.asarray(scales, np.float64)[..., None]).reshape(outputs, -1)


def w4a16_gemv(x: Any, packed: Any, scales: Any) -> Any:
    """`x` `[rows, features]` times the weights transposed, float64."""
    return x.astype(np.float64) @ dequantise(packed, scales).T
