"""The 4-bit product agrees with the unpacked weights' product."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels.launch import TORCH_TYPES, launch
from kernels.w4a16_gemv import kernel, reference
from kernels.w4a16_gemv.plugin import MOST_ROWS, W4A16_GEMV, constants
from tests.kernels.tensors import REPEATABLE, Source, assert_close, exact, seeds, types


def check(kernel: Any, seed: int, rows: int, groups: int, group: int, outputs: int, kind: str) -> None:
    """Random weights, quantised, times random rows with gaps between them."""
    source, features, gap = Source(seed), groups * group, seed % 3
    packed, scales = reference.quantise(exact(source.normal(outputs, features)) / np.sqrt(features), group)
    inputs = {
        "x": source.spread(rows, features, kind=kind, gap=gap),
        "packed": torch.from_numpy(packed),
        "scales": torch.from_numpy(scales).to(TORCH_TYPES[kind]),
    }
    fixed = constants(features, outputs, group, features + gap)
    tuned = {"BLOCK_OUTPUTS": 16 << seed % 2, "BLOCK_GROUPS": 2, "AHEAD": seed % 3 % 2}
    (found,) = launch(W4A16_GEMV, inputs, {**fixed, **tuned}, kind, kernel=kernel.w4a16_gemv)
    expected = reference.w4a16_gemv(exact(inputs["x"]), packed, exact(inputs["scales"]))
    assert_close(found, expected, kind)


@REPEATABLE
@given(
    seeds, st.integers(1, MOST_ROWS), st.integers(1, 4), st.sampled_from([64, 128]), st.integers(1, 70), types
)  # fmt: skip
def test_agrees_with_the_reference(seed: int, rows: int, groups: int, group: int, outputs: int, kind: str) -> None:
    """One to eight rows, any number of outputs, small and large groups."""
    check(kernel, seed, rows, groups, group, outputs, kind)


@REPEATABLE
@given(seeds, st.integers(1, 20), st.integers(1, 4), st.sampled_from([32, 128]))
def test_quantising_is_off_by_half_a_step_at_most(seed: int, outputs: int, groups: int, group: int) -> None:
    """Unpacked weights lie within half a step of what was packed, zeros stay zeros."""
    weight = exact(Source(seed).normal(outputs, groups * group))
    weight[0] = 0
    packed, scales = reference.quantise(weight, group)
    error = np.abs(reference.dequantise(packed, scales) - weight).reshape(outputs, groups, group)
    assert (error <= scales[..., None] * 0.5001).all()
    assert not reference.dequantise(packed, scales)[0].any()


@pytest.mark.parametrize("group", [32, 96, 256])
def test_a_group_that_cannot_be_is_refused(group: int) -> None:
    """The message names the group and what is expected."""
    with pytest.raises(ValueError, match=f"group: got {group}, expected a power of two from 64 on that divides 192"):
        constants(192, 8, group)
