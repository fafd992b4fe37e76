"""Masked mean over positions and division by the Euclidean norm (Reimers and Gurevych 2019), in float64."""

from typing import Any

import numpy as np


def mean_pool_l2(x: Any, mask: Any) -> Any:
    """`[rows, features]` of length 1 from `[rows, positions, features]`; zeros where the mask counts nothing."""
    counted = np.where(mask[..., None] != 0, x.astype(np.float64), 0.0)
    mean = counted.sum(1) / np.maximum((mask != 0).sum(1), 1)[:, None]
    length = np.linalg.norm(mean, axis=-1, keepdims=True)
    return np.divide(mean, length, out=np.zeros_like(mean), where=length > 0)
