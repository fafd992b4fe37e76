"""Repairs two faults of Triton 3.9's interpreter, so that what it computes is what the compiled kernel means.

Its product reads bfloat16 as whole numbers, and its rounding to FP8 loses the carry into the exponent.
"""

from typing import Any

import numpy as np
import torch
import triton.language as tl
from triton.runtime import interpreter


def repair() -> None:
    """Once, before kernels run."""
    builder = interpreter.InterpreterBuilder
    product, convert = builder.create_dot, interpreter._convert_float

    def create_dot(self: Any, a: Any, b: Any, d: Any, *rest: Any) -> Any:
        return product(self, _widened(self, a), _widened(self, b), d, *rest)

    def convert_float(values: Any, origin: Any, target: Any, rounding: Any) -> Any:
        if origin == tl.float32 and target == tl.float8e4nv:
            rounded = torch.from_numpy(np.ascontiguousarray(values).view(np.float32)).to(torch.float8_e4m3fn)
            return rounded.view(torch.uint8).numpy()
        return convert(values, origin, target, rounding)

    builder.create_dot = create_dot
    interpreter._convert_float = convert_float


def _widened(builder: Any, operand: Any) -> Any:
    return builder.cast_impl(operand, tl.float32) if operand.dtype.scalar == tl.bfloat16 else operand
