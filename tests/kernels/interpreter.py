"""Repairs three faults of Triton 3.9's interpreter, so that what it computes is what the compiled kernel means, sooner.

Its product reads bfloat16 as whole numbers, its rounding to FP8 loses the carry into the exponent, and each call of a
function within a kernel wraps the whole language once more.
"""

from typing import Any

import numpy as np
import torch
import triton.language as tl
from triton.runtime import interpreter


def repair() -> None:
    """Once, before kernels run."""
    builder = interpreter.InterpreterBuilder
    product, convert, patch = builder.create_dot, interpreter._convert_float, interpreter._patch_lang

    def create_dot(self: Any, a: Any, b: Any, d: Any, *rest: Any) -> Any:
        return product(self, _widened(self, a), _widened(self, b), d, *rest)

    def convert_float(values: Any, origin: Any, target: Any, rounding: Any) -> Any:
        if origin == tl.float32 and target == tl.float8e4nv:
            rounded = torch.from_numpy(np.ascontiguousarray(values).view(np.float32)).to(torch.float8_e4m3fn)
            return rounded.view(torch.uint8).numpy()
        return convert(values, origin, target, rounding)

    def patch_lang(function: Any) -> Any:
        languages = [value for value in function.__globals__.values() if value is tl or value is tl.core]
        unpatched = not languages or any(tl.core.is_builtin(language.load) for language in languages)
        return patch(function) if unpatched else interpreter._LangPatchScope()

    builder.create_dot = create_dot
    interpreter._convert_float = convert_float
    interpreter._patch_lang = patch_lang


def _widened(builder: Any, operand: Any) -> Any:
    return builder.cast_impl(operand, tl.float32) if operand.dtype.scalar == tl.bfloat16 else operand
