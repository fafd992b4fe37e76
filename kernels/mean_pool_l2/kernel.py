"""Averages a text's positions under a mask and scales to length 1 in one pass: a sentence's vector."""

import triton
import triton.language as tl

SHORTEST: tl.constexpr = tl.constexpr(1e-12)


@triton.jit
def mean_pool_l2(
    x, mask,
    positions,
    pooled,
    FEATURES: tl.constexpr, POSITION_STRIDE: tl.constexpr, FEATURE_BLOCK: tl.constexpr, BLOCK_POSITIONS: tl.constexpr,
):  # fmt: skip
    """One program takes one row. The mean's divisor falls out of a unit vector, so that only the sum is needed."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, FEATURE_BLOCK)
    sums = tl.zeros([BLOCK_POSITIONS, FEATURE_BLOCK], tl.float32)  # threads share no sums within the loop
    for at in range(0, positions, BLOCK_POSITIONS):
        position = at + tl.arange(0, BLOCK_POSITIONS)
        counted = tl.load(mask + row * positions + position, mask=position < positions, other=0) != 0
        source = x + (row * positions + position)[:, None] * POSITION_STRIDE + column[None, :]
        values = tl.load(source, mask=counted[:, None] & (column < FEATURES)[None, :], other=0.0)
        sums += values.to(tl.float32)
    total = tl.sum(sums, axis=0)
    length = tl.sqrt(tl.sum(total * total, axis=0))
    result = total / tl.maximum(length, SHORTEST)
    tl.store(pooled + row * FEATURES + column, result.to(pooled.dtype.element_ty), mask=column < FEATURES)
