"""Adds the residual and normalises in one pass, with or without FP8 at the end: x and residual are read once."""

import triton
import triton.language as tl

FP8_LARGEST: tl.constexpr = tl.constexpr(448.0)


@triton.jit
def add_rms_norm(
    x, residual, weight, normed, total,
    FEATURES: tl.constexpr, X_STRIDE: tl.constexpr, EPSILON: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Row by row: `total = x + residual`, `normed = total / rms(total) * weight`."""
    row = tl.program_id(0).to(tl.int64)
    values, columns, inside = _normalise(x, residual, weight, total, row, FEATURES, X_STRIDE, EPSILON, BLOCK)
    tl.store(normed + row * FEATURES + columns, values.to(normed.dtype.element_ty), mask=inside)


@triton.jit
def add_rms_norm_fp8(
    x, residual, weight, scale, normed, total,
    FEATURES: tl.constexpr, X_STRIDE: tl.constexpr, EPSILON: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The same, with `normed / scale` rounded to FP8 E4M3 and kept within its range; NaN stays NaN."""
    row = tl.program_id(0).to(tl.int64)
    unit = tl.load(scale)
    values, columns, inside = _normalise(x, residual, weight, total, row, FEATURES, X_STRIDE, EPSILON, BLOCK)
    above = tl.maximum(values / unit, -FP8_LARGEST, propagate_nan=tl.PropagateNan.ALL)
    scaled = tl.minimum(above, FP8_LARGEST, propagate_nan=tl.PropagateNan.ALL)
    tl.store(normed + row * FEATURES + columns, scaled.to(normed.dtype.element_ty), mask=inside)


@triton.jit
def _normalise(
    x, residual, weight, total, row,
    FEATURES: tl.constexpr, X_STRIDE: tl.constexpr, EPSILON: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    columns = tl.arange(0, BLOCK)
    inside = columns < FEATURES
    factors = tl.load(weight + columns, mask=inside, other=0.0)
    tl.debug_barrier()  # behind this read: the assembler would put it off until x is there
    added = tl.load(x + row * X_STRIDE + columns, mask=inside, other=0.0).to(tl.float32)
    added += tl.load(residual + row * FEATURES + columns, mask=inside, other=0.0).to(tl.float32)
    tl.store(total + row * FEATURES + columns, added.to(total.dtype.element_ty), mask=inside)
    mean_square = tl.sum(added * added, axis=0) / FEATURES
    return added * tl.rsqrt(mean_square + EPSILON) * factors.to(tl.float32), columns, inside
