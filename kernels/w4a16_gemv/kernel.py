"""Multiplies a few rows with 4-bit weights: weights are read once, packed, and unpacked in registers."""

import triton
import triton.language as tl


@triton.jit
def w4a16_gemv(
    x, packed, scales,
    rows,
    product,
    FEATURES: tl.constexpr, OUTPUTS: tl.constexpr, GROUP: tl.constexpr, X_STRIDE: tl.constexpr,
    ROW_BLOCK: tl.constexpr, BLOCK_OUTPUTS: tl.constexpr,
):  # fmt: skip
    """One program takes BLOCK_OUTPUTS outputs of all rows, group by group.

    Byte j of a group holds weight j in its low half and weight j + GROUP / 2 in its high half, each plus 8.
    """
    half: tl.constexpr = GROUP // 2
    row, place = tl.arange(0, ROW_BLOCK), tl.arange(0, half)
    output = (tl.program_id(0) * BLOCK_OUTPUTS + tl.arange(0, BLOCK_OUTPUTS)).to(tl.int64)
    there, wanted = row < rows, output < OUTPUTS
    result = tl.zeros([ROW_BLOCK, BLOCK_OUTPUTS], tl.float32)
    for group in range(FEATURES // GROUP):
        source = x + row[:, None] * X_STRIDE + group * GROUP + place[None, :]
        first = tl.load(source, mask=there[:, None], other=0.0)
        second = tl.load(source + half, mask=there[:, None], other=0.0)
        byte_at = packed + output[None, :] * (FEATURES // 2) + group * half + place[:, None]
        pair = tl.load(byte_at, mask=wanted[None, :], other=0)
        low = ((pair & 15) - 8).to(tl.float32).to(first.dtype)
        high = (((pair >> 4) & 15) - 8).to(tl.float32).to(first.dtype)
        scale = tl.load(scales + output * (FEATURES // GROUP) + group, mask=wanted, other=0.0).to(tl.float32)
        sums = tl.dot(first, low, input_precision="ieee")
        sums = tl.dot(second, high, acc=sums, input_precision="ieee")
        result += sums * scale[None, :]
    target = product + row[:, None] * OUTPUTS + output[None, :]
    tl.store(target, result.to(product.dtype.element_ty), mask=there[:, None] & wanted[None, :])
