"""The gate of the direct emitter's MLP as one kernel; no operator of `kernels/`, as no TensorRT engine has it."""

import triton
import triton.language as tl

BLOCK = 1024


@triton.jit
def swiglu(both, gated, width, BLOCK: tl.constexpr):
    """`[rows, width]` of `[rows, gate and up side by side]`: one program takes one block of one row."""
    row, column = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    source, inside = both + row * 2 * width + column, column < width
    gate = tl.load(source, mask=inside).to(tl.float32)
    up = tl.load(source + width, mask=inside).to(tl.float32)
    tl.store(gated + row * width + column, (gate * tl.sigmoid(gate) * up).to(gated.dtype.element_ty), mask=inside)
