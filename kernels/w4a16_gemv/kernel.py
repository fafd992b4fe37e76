"""Multiplies a few rows with 4-bit weights: weights are read once, packed, and unpacked in registers, two at a time."""

import triton
import triton.language as tl


@triton.jit
def w4a16_gemv(
    x, packed, scales,
    rows,
    product,
    FEATURES: tl.constexpr, OUTPUTS: tl.constexpr, GROUP: tl.constexpr, X_STRIDE: tl.constexpr,
    ROW_BLOCK: tl.constexpr, BLOCK_OUTPUTS: tl.constexpr, BLOCK_GROUPS: tl.constexpr,
):  # fmt: skip
    """One program takes BLOCK_OUTPUTS outputs of all rows, BLOCK_GROUPS groups at a time; a warp has its own of these.

    Bits 16 h + 4 n of word j of a group hold weight n GROUP / 4 + 2 j + h, plus 8. Put below the exponent of a power of
    two, four bits are that power plus their number: the sum is taken off again by a product with what is too much.
    """
    part: tl.constexpr = GROUP // 4
    groups: tl.constexpr = FEATURES // GROUP
    row, place, pair = tl.arange(0, ROW_BLOCK), tl.arange(0, part), tl.arange(0, GROUP // 8)
    output = tl.program_id(0) * BLOCK_OUTPUTS + tl.arange(0, BLOCK_OUTPUTS)
    there, wanted = row < rows, output < OUTPUTS
    kind = x.dtype.element_ty
    exponent, excess = _exponent(kind)
    surplus = tl.full([BLOCK_GROUPS, part, BLOCK_OUTPUTS], 0.0, tl.float32) - excess
    words = packed.to(tl.pointer_type(tl.uint32), bitcast=True) + output.to(tl.int64)[None, None, :] * (FEATURES // 8)
    result = tl.zeros([BLOCK_GROUPS, ROW_BLOCK, BLOCK_OUTPUTS], tl.float32)
    for first in range(0, groups, BLOCK_GROUPS):
        group = first + tl.arange(0, BLOCK_GROUPS)
        inside = group < groups
        asked = inside[:, None, None] & wanted[None, None, :]
        word = tl.load(words + group[:, None, None] * (GROUP // 8) + pair[None, :, None], mask=asked, other=0)
        scale = tl.load(
            scales + output[None, :] * groups + group[:, None], mask=inside[:, None] & wanted[None, :], other=0
        )
        source = x + row[None, :, None] * X_STRIDE + group[:, None, None] * GROUP + place[None, None, :]
        sums = tl.zeros([BLOCK_GROUPS, ROW_BLOCK, BLOCK_OUTPUTS], tl.float32)
        for n in tl.static_range(4):
            some = tl.load(source + n * part, mask=inside[:, None, None] & there[None, :, None], other=0.0)
            both = ((word >> (4 * n)) & 0x000F000F) | exponent
            steps = tl.join(_number(both & 0xFFFF, kind), _number(both >> 16, kind))
            steps = tl.reshape(tl.permute(steps, (0, 1, 3, 2)), [BLOCK_GROUPS, part, BLOCK_OUTPUTS])
            sums = tl.dot(some, steps, acc=sums, input_precision="ieee")
            sums = tl.dot(some, surplus.to(kind), acc=sums, input_precision="ieee")
        result += sums * scale.to(tl.float32)[:, None, :]
    target = product + row[:, None] * OUTPUTS + output[None, :]
    total = tl.sum(result, axis=0)
    tl.store(target, total.to(product.dtype.element_ty), mask=there[:, None] & wanted[None, :])


@triton.jit
def _exponent(kind: tl.constexpr):
    """What makes numbers of four bits, two in a word, and by how much these are too large, the 8 included."""
    if kind == tl.bfloat16:
        return tl.full([], 0x43004300, tl.uint32), 128.0 + 8
    if kind == tl.float16:
        return tl.full([], 0x64006400, tl.uint32), 1024.0 + 8
    return tl.full([], 0, tl.uint32), 8.0


@triton.jit
def _number(bits, kind: tl.constexpr):
    return bits.to(tl.float32) if kind == tl.float32 else bits.to(tl.uint16).to(kind, bitcast=True)
