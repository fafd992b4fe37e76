"""Averages a text's positions under a mask and scales to length 1 in one pass: a sentence's vector."""

import triton
import triton.language as tl

SHORTEST: tl.constexpr = tl.constexpr(1e-12)
MASK_BLOCK: tl.constexpr = tl.constexpr(128)


@triton.jit
def mean_pool_l2(
    x, mask,
    positions,
    pooled,
    FEATURES: tl.constexpr, POSITION_STRIDE: tl.constexpr, FEATURE_BLOCK: tl.constexpr, BLOCK_POSITIONS: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """One program takes one row. The mean's divisor falls out of a unit vector, so that only the sum is needed.

    The first block of positions is on its way before the mask says where the last one that counts lies; the others up
    to that one are read STAGES - 1 blocks ahead, whether they count or not.
    """
    row = tl.program_id(0).to(tl.int64)
    column, place = tl.arange(0, FEATURE_BLOCK), tl.arange(0, BLOCK_POSITIONS)
    source = x + (row * positions + place)[:, None] * POSITION_STRIDE + column[None, :]
    inside = (column < FEATURES)[None, :]
    head = tl.load(source, mask=inside & (place < positions)[:, None], other=0.0)
    marks = mask + row * positions
    head_counts = _counts(marks, place, positions)

    ends = tl.zeros([MASK_BLOCK], tl.int32)
    for at in range(0, positions, MASK_BLOCK):
        position = at + tl.arange(0, MASK_BLOCK)
        ends = tl.where(_counts(marks, position, positions), position + 1, ends)
    end = tl.max(ends, axis=0)

    sums = tl.zeros([BLOCK_POSITIONS, FEATURE_BLOCK], tl.float32)  # threads share no sums within the loop
    for at in tl.range(BLOCK_POSITIONS, end, BLOCK_POSITIONS, num_stages=STAGES):
        position = at + place
        values = tl.load(source + at * POSITION_STRIDE, mask=inside & (position < end)[:, None], other=0.0)
        sums += tl.where(_counts(marks, position, end)[:, None], values, 0.0).to(tl.float32)
    sums += tl.where(head_counts[:, None], head, 0.0).to(tl.float32)
    total = tl.sum(sums, axis=0)
    length = tl.sqrt(tl.sum(total * total, axis=0))
    result = total / tl.maximum(length, SHORTEST)
    tl.store(pooled + row * FEATURES + column, result.to(pooled.dtype.element_ty), mask=column < FEATURES)


@triton.jit
def _counts(marks, position, end):
    return tl.load(marks + position, mask=position < end, other=0) != 0
