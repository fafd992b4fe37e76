"""Add + RMS norm agrees with its reference, with and without FP8 at the end."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels.add_rms_norm import kernel, reference
from kernels.add_rms_norm.plugin import ADD_RMS_NORM, ADD_RMS_NORM_FP8, constants
from kernels.contract import Argument
from kernels.launch import launch
from tests.kernels.tensors import REPEATABLE, Source, assert_close, exact, seeds, types

FP8_STEP = 2.0**-3
FP8_SMALLEST_STEP = 2.0**-9


def check(kernel: Any, seed: int, rows: int, features: int, gap: int, kind: str) -> None:
    """One random case against the reference."""
    source = Source(seed)
    x, residual = source.spread(rows, features, kind=kind, gap=gap), source.normal(rows, features, kind=kind)
    weight = source.normal(features, kind=kind)
    found = launch(
        ADD_RMS_NORM,
        {"x": x, "residual": residual, "weight": weight},
        constants(features, 1e-5, features + gap),
        kind,
        kernel=kernel.add_rms_norm,
    )
    expected = reference.add_rms_norm(exact(x), exact(residual), exact(weight), 1e-5)
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other, kind)


def check_fp8(kernel: Any, seed: int, rows: int, features: int, scale: float, output: str) -> None:
    """One random case of the quantising kernel; `output` fp32 shows what is about to be rounded."""
    source = Source(seed)
    x, residual, weight = source.normal(rows, features), source.normal(rows, features), source.normal(features)
    x[0, 0] = float("nan") if rows > 1 else 0.0
    contract = replace(ADD_RMS_NORM_FP8, outputs=(Argument("normed", output, 2), ADD_RMS_NORM_FP8.outputs[1]))
    inputs = {"x": x, "residual": residual, "weight": weight, "scale": torch.tensor([scale])}
    found, total = launch(contract, inputs, constants(features, 1e-5), "fp32", kernel=kernel.add_rms_norm_fp8)
    expected, sums = reference.add_rms_norm_fp8(exact(x), exact(residual), exact(weight), scale, 1e-5)
    assert_close(total, sums, "fp32")
    if output == "fp32":
        assert_close(found, expected, "fp32")
        return
    np.testing.assert_allclose(exact(found), expected, rtol=FP8_STEP / 2 + 1e-5, atol=FP8_SMALLEST_STEP / 2)


@REPEATABLE
@given(seeds, st.integers(1, 5), st.integers(1, 300), st.integers(0, 7), types)
def test_agrees_with_the_reference(seed: int, rows: int, features: int, gap: int, kind: str) -> None:
    """Any number of features, rows with gaps between them, every type."""
    check(kernel, seed, rows, features, gap, kind)


@REPEATABLE
@given(
    seeds,
    st.integers(1, 4),
    st.integers(1, 200),
    st.sampled_from([0.001, 0.02, 1.0]),
    st.sampled_from(["fp32", "fp8e4nv"]),
)
def test_quantises_to_fp8(seed: int, rows: int, features: int, scale: float, output: str) -> None:
    """Scaled, kept within FP8's range where it would exceed it, and rounded to at most half a step."""
    check_fp8(kernel, seed, rows, features, scale, output)
