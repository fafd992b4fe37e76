"""Masked mean pooling to unit length agrees with its reference."""

from typing import Any

import torch
from hypothesis import example, given
from hypothesis import strategies as st

from kernels.launch import launch
from kernels.mean_pool_l2 import kernel, reference
from kernels.mean_pool_l2.plugin import MEAN_POOL_L2, constants
from tests.kernels.tensors import REPEATABLE, Source, assert_close, exact, seeds, types


def check(kernel: Any, seed: int, rows: int, positions: int, features: int, gap: int, kind: str) -> None:
    """Random masks with holes; the first row counts nothing, and what is not counted is not a number."""
    source = Source(seed)
    x, mask = source.spread(rows, positions, features, kind=kind, gap=gap), source.integers(0, 1, rows, positions)
    mask[0] = 0
    x[mask == 0] = float("nan")
    fixed = constants(features, features + gap)
    (found,) = launch(
        MEAN_POOL_L2,
        {"x": x, "mask": mask},
        {**fixed, "BLOCK_POSITIONS": 4, "STAGES": 2},
        kind,
        kernel=kernel.mean_pool_l2,
    )
    assert found.dtype is torch.float32
    assert_close(found, reference.mean_pool_l2(exact(x), exact(mask)), "fp32")


@REPEATABLE
@example(0, 2, 300, 5, 0, "fp32")  # more than one block of the mask
@given(seeds, st.integers(1, 4), st.integers(1, 19), st.integers(1, 130), st.integers(0, 5), types)
def test_agrees_with_the_reference(seed: int, rows: int, positions: int, features: int, gap: int, kind: str) -> None:
    """Any number of positions and features, gaps between positions, every type."""
    check(kernel, seed, rows, positions, features, gap, kind)
