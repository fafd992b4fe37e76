"""Add and RMS norm as written by Zhang and Sennrich (2019), in float64."""

from typing import Any

import numpy as np

FP8_LARGEST = 448.0


def add_rms_norm(x: Any, residual: Any, weight: Any, epsilon: float) -> tuple[Any, Any]:
    """`(normed, total)` of `[rows, features]`, float64."""
    total = x.astype(np.float64) + residual.astype(np.float64)
    return total / np.sqrt(np.square(total).mean(-1, keepdims=True) + epsilon) * weight.astype(np.float64), total


def add_rms_norm_fp8(x: Any, residual: Any, weight: Any, scale: float, epsilon: float) -> tuple[Any, Any]:
    """`(normed / scale, total)`, the first within FP8 E4M3's range but not rounded to it; NaN stays NaN."""
    normed, total = add_rms_norm(x, residual, weight, epsilon)
    return np.clip(normed / scale, -FP8_LARGEST, FP8_LARGEST), total
