"""Multiplies a few rows with 4-bit weights: weights are read once, packed, and unpacked in registers, two at a time."""

import triton
import triton.language as tl

# Words side by side that one thread gives to a product's inner dimension: as Triton lays out a joined operand.
NEAR = tl.constexpr(2 if tuple(map(int, triton.__version__.split(".")[:2])) < (3, 7) else 1)


@triton.jit
def w4a16_gemv(
    x, packed, scales,
    rows,
    product,
    FEATURES: tl.constexpr, OUTPUTS: tl.constexpr, GROUP: tl.constexpr, X_STRIDE: tl.constexpr,
    ROW_BLOCK: tl.constexpr, BLOCK_OUTPUTS: tl.constexpr, BLOCK_GROUPS: tl.constexpr, AHEAD: tl.constexpr,
):  # fmt: skip
    """One program takes BLOCK_OUTPUTS outputs of all rows, BLOCK_GROUPS groups at a time; a warp has its own of these.

    Bits 16 h + 4 n of word j of a group hold weight n GROUP / 4 + 2 j + h, plus 8. Put below the exponent of a power of
    two, four bits are that power plus their number: the sum is taken off again by a product with what is too much.
    Four threads have a group of one output, 16 bytes each: as tensor cores want weights, so that none is moved. Nothing
    is masked: what lies beyond an end is read from the last place, and is not stored or has no scale. AHEAD loads the
    next words before these are used.
    """
    part: tl.constexpr = GROUP // 4
    many: tl.constexpr = GROUP // 32 // NEAR
    groups: tl.constexpr = FEATURES // GROUP
    side: tl.constexpr = 32 if BLOCK_OUTPUTS > 32 else BLOCK_OUTPUTS
    kind = x.dtype.element_ty
    exponent, excess = _constants(kind)
    exponent |= tl.program_id(1).to(tl.uint32)  # 0, but in a register: mask and exponent are then one instruction
    begin = tl.program_id(0) * BLOCK_OUTPUTS
    line = tl.arange(0, BLOCK_OUTPUTS * BLOCK_GROUPS)
    output = tl.minimum(begin + line // (8 * BLOCK_GROUPS) * 8 + line % 8, OUTPUTS - 1)
    place = line // 8 % BLOCK_GROUPS
    words = packed.to(tl.pointer_type(tl.uint32), bitcast=True) + output[:, None].to(tl.int64) * (FEATURES // 8)
    words += tl.arange(0, GROUP // 8)[None, :]
    scale_output = tl.minimum(begin + line // (side * BLOCK_GROUPS) * side + line % side, OUTPUTS - 1)
    scale_place = line // side % BLOCK_GROUPS
    row_line = tl.arange(0, ROW_BLOCK * BLOCK_GROUPS)
    row = tl.minimum(row_line % ROW_BLOCK, rows - 1)
    source = x + row[:, None] * X_STRIDE + tl.arange(0, part)[None, :]
    surplus = tl.full([BLOCK_GROUPS, BLOCK_OUTPUTS, GROUP // 8], 0, tl.uint32) + excess
    surplus = tl.reshape(_halves(surplus, kind), [BLOCK_GROUPS, BLOCK_OUTPUTS, part])
    result = tl.zeros([BLOCK_GROUPS, BLOCK_OUTPUTS, ROW_BLOCK], tl.float32)
    factors = scales + scale_output * groups
    coming, coming_scale = _words(words, place, groups, GROUP), _scales(factors, scale_place, groups)
    for first in range(0, groups, BLOCK_GROUPS):
        if AHEAD:
            word, scale, after = coming, coming_scale, first + BLOCK_GROUPS
            coming, coming_scale = (
                _words(words, after + place, groups, GROUP),
                _scales(factors, after + scale_place, groups),
            )
            tl.debug_barrier()  # else the assembler moves the loads to the end, where nothing is left to overlap with
        else:
            word, scale = _words(words, first + place, groups, GROUP), _scales(factors, first + scale_place, groups)
        word = tl.reshape(word, [BLOCK_OUTPUTS // 8, BLOCK_GROUPS, 8, 4, NEAR, many])
        word = tl.reshape(tl.permute(word, (1, 0, 2, 5, 3, 4)), [BLOCK_GROUPS, BLOCK_OUTPUTS, GROUP // 8])
        start = source + tl.minimum(first + row_line // ROW_BLOCK, groups - 1)[:, None] * GROUP
        sums = tl.zeros([BLOCK_GROUPS, BLOCK_OUTPUTS, ROW_BLOCK], tl.float32)
        over = tl.zeros([BLOCK_GROUPS, BLOCK_OUTPUTS, ROW_BLOCK], tl.float32)
        for n in tl.static_range(4):
            some = tl.reshape(tl.load(start + n * part), [BLOCK_GROUPS, ROW_BLOCK, 4, NEAR, many, 2])
            some = tl.reshape(tl.permute(some, (0, 4, 2, 3, 5, 1)), [BLOCK_GROUPS, part, ROW_BLOCK])
            steps = _halves(((word >> (4 * n)) & 0x000F000F) | exponent, kind)
            steps = tl.reshape(steps, [BLOCK_GROUPS, BLOCK_OUTPUTS, part])
            sums = tl.dot(steps, some, acc=sums, input_precision="ieee")
            over = tl.dot(surplus, some, acc=over, input_precision="ieee")
        scale = tl.permute(tl.reshape(scale, [BLOCK_OUTPUTS // side, BLOCK_GROUPS, side]), (1, 0, 2))
        scale = tl.reshape(scale, [BLOCK_GROUPS, BLOCK_OUTPUTS])
        result += (sums + over) * scale.to(tl.float32)[:, :, None]
    total = tl.sum(result, axis=0)
    row, output = tl.arange(0, ROW_BLOCK)[None, :], begin + tl.arange(0, BLOCK_OUTPUTS)[:, None]
    asked = (row < rows) & (output < OUTPUTS)
    tl.store(product + row * OUTPUTS + output, total.to(product.dtype.element_ty), mask=asked)


@triton.jit
def _words(words, group, groups: tl.constexpr, GROUP: tl.constexpr):
    """Weights are read once: they shall not drive `x` out of the first-level cache."""
    return tl.load(words + tl.minimum(group, groups - 1)[:, None] * (GROUP // 8), cache_modifier=".cg")


@triton.jit
def _scales(factors, group, groups: tl.constexpr):
    """0 beyond the last group."""
    return tl.where(group < groups, tl.load(factors + tl.minimum(group, groups - 1)), 0.0)


@triton.jit
def _constants(kind: tl.constexpr):
    """What makes numbers of four bits, two in a word, and minus how much these are too large, the 8 included, twice."""
    if kind == tl.bfloat16:
        return tl.full([], 0x43004300, tl.uint32), tl.full([], 0xC308C308, tl.uint32)  # 128, -136
    if kind == tl.float16:
        return tl.full([], 0x64006400, tl.uint32), tl.full([], 0xE408E408, tl.uint32)  # 1024, -1032
    return tl.full([], 0, tl.uint32), tl.full([], 0xFFF8FFF8, tl.uint32)  # 0, -8 as integers


@triton.jit
def _halves(both, kind: tl.constexpr):
    """The two numbers of each word, side by side."""
    return tl.join(_number(both & 0xFFFF, kind), _number(both >> 16, kind))


@triton.jit
def _number(bits, kind: tl.constexpr):
    half = bits.to(tl.uint16)
    return half.to(tl.int16, bitcast=True).to(tl.float32) if kind == tl.float32 else half.to(kind, bitcast=True)
