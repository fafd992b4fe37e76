"""Group-wise 4-bit weights: how they are made and packed, and their product in float64."""

from typing import Any

import numpy as np

ZERO = 8
LARGEST_STEP = 7


def quantise(weight: Any, group: int) -> tuple[Any, Any]:
    """`[outputs, features]` to packed int8 `[outputs, features / 2]` and float32 scales `[outputs, features / group]`.

    Byte j of a group holds step j in its low half and step j + group / 2 in its high half, each plus 8.
    """
    outputs, features = weight.shape
    if features % group or group % 2:
        raise ValueError(f"group: got {group}, expected an even divisor of {features}")
    blocks = np.asarray(weight, np.float32).reshape(outputs, features // group, group)
    scales = np.abs(blocks).max(-1) / np.float32(LARGEST_STEP)
    steps = np.rint(blocks / np.where(scales == 0, np.float32(1), scales)[..., None]).astype(np.int8) + ZERO
    low, high = np.split(steps.astype(np.uint8), 2, axis=-1)
    return (low | high << 4).view(np.int8).reshape(outputs, features // 2), scales


def dequantise(packed: Any, scales: Any) -> Any:
    """The weights `[outputs, features]` that `quantise` kept, float64."""
    outputs, groups = scales.shape
    bytes_of = packed.view(np.uint8).reshape(outputs, groups, -1)
    steps = np.concatenate([bytes_of & 15, bytes_of >> 4], axis=-1).astype(np.float64) - ZERO
    return (steps * np.asarray(scales, np.float64)[..., None]).reshape(outputs, -1)


def w4a16_gemv(x: Any, packed: Any, scales: Any) -> Any:
    """`x` `[rows, features]` times the weights transposed, float64."""
    return x.astype(np.float64) @ dequantise(packed, scales).T
