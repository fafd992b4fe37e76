"""Runs in a process of its own with TensorRT's real bindings over stub libraries; prints what the plugins answer.

Output: one JSON object, by kernel: shapes, types, PTX parameters, launch and int32 arguments, and the shared memory
that a kernel takes when it is compiled without a plugin.
"""

import json
from typing import Any, ClassVar

from kernels import tensorrt_plugins
from kernels.aot import compile_ahead, parameter_types
from kernels.specimens import specimens
from tests.kernels.stub_bindings import load

trt, trtp = load()
SHAPES = {
    "add_rms_norm": [(3, 4096), (3, 4096), (4096,)],
    "add_rms_norm_fp8": [(3, 4096), (3, 4096), (4096,), (1,)],
    "rope_kv_append": [(3, 5, 6144), (3,), (3,), (3, 1), (8192, 64), (8192, 64), (4, 8, 8192, 128), (4, 8, 8192, 128)],
    "gqa_decode_split": [(3, 4096), (4, 8, 8192, 128), (4, 8, 8192, 128), (3, 1), (3,)],
    "gqa_decode_reduce": [(3, 32, 16, 128), (3, 32, 16, 2), (3, 4096)],
    "w4a16_gemv": [(3, 4096), (14336, 2048), (14336, 32)],
    "mean_pool_l2": [(3, 17, 384), (3, 17)],
    "sample_candidates": [(3, 128256), (3,)],
    "sample_top_k_top_p": [(3, 128256), (3,), (3,), (3,), (3,), (3, 32, 64), (3, 32, 64), (3, 32, 3)],
}


class Number:
    """A size that TensorRT's expressions compute with; its own has no constructor in Python."""

    def __init__(self, value: int) -> None:
        self.value = value


class Builder:
    """What TensorRT gives expressions to be built with, evaluated at once."""

    operations: ClassVar[dict[Any, Any]] = {
        trt.DimensionOperation.SUM: lambda a, b: a + b,
        trt.DimensionOperation.SUB: lambda a, b: a - b,
        trt.DimensionOperation.PROD: lambda a, b: a * b,
        trt.DimensionOperation.FLOOR_DIV: lambda a, b: a // b,
    }

    def constant(self, value: int) -> Number:
        return Number(value)

    def operation(self, operation: Any, first: Number, second: Number) -> Any:
        return _expression(self.operations[operation](first.value, second.value))


def _expression(value: int) -> Any:
    made = trtp.ShapeExpr(0)
    made._int_expr = Number(value)
    return made


def _description(shape: tuple[int, ...]) -> Any:
    description = trtp.TensorDesc(trtp.ShapeExprs.from_tuple(tuple(_expression(size) for size in shape)))
    description._immutable = True
    return description


def _answers(one: Any) -> dict[str, Any]:
    plugin = trtp._lib.QDP_REGISTRY[f"{tensorrt_plugins.NAMESPACE}::{one.contract.name}"]
    untuned = {name: value for name, value in one.constants.items() if name not in one.contract.tuned}
    build = tensorrt_plugins.build_field(untuned, one.activation, one.architecture)
    inputs = [_description(shape) for shape in SHAPES[one.contract.name]]
    outputs = plugin.register_func(*inputs, build=build)
    (combination,) = plugin.autotune_func(*inputs, build, outputs)
    types = [str(kind) for kind in combination._get_combinations()[0].types]
    entry, ptx, launch, extra = plugin.aot_impl_func(*inputs, build, outputs, tensorrt_plugins.TACTIC)
    return {
        "shapes": SHAPES[one.contract.name],
        "outputs": [[size._expr.value for size in output.shape_expr] for output in outputs],
        "aliases": [inputs.index(output.get_aliased()) if output.is_aliased else None for output in outputs],
        "types": types,
        "output_types": [None if output.is_aliased else str(output.dtype) for output in outputs],
        "entry": entry,
        "parameters": parameter_types(ptx),
        "launch": [getattr(launch, f"{part}_{axis}")._expr.value for part in ("grid", "block") for axis in "xyz"],
        "shared_bytes": launch.shared_mem._expr.value,
        "needed_shared_bytes": compile_ahead(one).shared_bytes,
        "sizes": [extra[place]._expr.value for place in range(len(extra))],
    }


if __name__ == "__main__":
    tensorrt_plugins.register(trt, trtp)
    trtp._tensor.SymIntExpr._exprBuilder = Builder()
    chosen = [one for one in specimens(90) if one.contract in tensorrt_plugins.CONTRACTS]
    print(json.dumps({one.contract.name: _answers(one) for one in chosen}))
