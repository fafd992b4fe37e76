"""Makes quickly deployable TensorRT plugins of the kernels' contracts: the PTX is compiled as the engine is built.

TensorRT itself is handed in, so that one file elsewhere imports it.
"""

import hashlib
import inspect
import json
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kernels.add_rms_norm.plugin import ADD_RMS_NORM, ADD_RMS_NORM_FP8
from kernels.contract import Constants, Contract
from kernels.gqa_decode_attention.plugin import GQA_DECODE_REDUCE, GQA_DECODE_SPLIT
from kernels.mean_pool_l2.plugin import MEAN_POOL_L2
from kernels.rope_kv_append.plugin import ROPE_KV_APPEND
from kernels.sample_top_k_top_p.plugin import SAMPLE_CANDIDATES, SAMPLE_TOP_K_TOP_P
from kernels.specimens import specimen
from kernels.w4a16_gemv.plugin import W4A16_GEMV

NAMESPACE = "fulcrum"
CONTRACTS = (
    ADD_RMS_NORM,
    ADD_RMS_NORM_FP8,
    ROPE_KV_APPEND,
    GQA_DECODE_SPLIT,
    GQA_DECODE_REDUCE,
    W4A16_GEMV,
    MEAN_POOL_L2,
    SAMPLE_CANDIDATES,
    SAMPLE_TOP_K_TOP_P,
)
TYPE_NAMES = {
    "fp32": ("FLOAT", "FP32"),
    "fp16": ("HALF", "FP16"),
    "bf16": ("BF16", "BF16"),
    "fp8e4nv": ("FP8", "FP8"),
    "i32": ("INT32", "INT32"),
    "i8": ("INT8", "INT8"),
}
TACTIC = 1


def build_field(constants: Constants, activation: str, architecture: int) -> str:
    """The one attribute of each plugin: what its kernel is compiled for."""
    return json.dumps(
        {"constants": dict(constants), "activation": activation, "architecture": architecture}, sort_keys=True
    )


@cache
def kernels_version() -> str:
    """Digest of what the plugins' machine code is made by: sources, tuned configurations and Triton's version."""
    folder, total = Path(__file__).parent, hashlib.sha256(version("triton").encode())
    for path in sorted([*folder.rglob("*.py"), *folder.glob("*.toml")]):
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:16]


def register(trt: Any, trtp: Any, contracts: Sequence[Contract] = CONTRACTS) -> None:
    """Registers the plugins as `fulcrum::<kernel>`, once a process.

    Args:
        trt: the module `tensorrt`.
        trtp: the module `tensorrt.plugin`.
        contracts: of the kernels.
    """
    for contract in contracts:
        _Plugin(contract, trt, trtp).register()


class _Plugin:
    """The three functions that TensorRT calls for one kernel, with the signatures that it reads."""

    def __init__(self, contract: Contract, trt: Any, trtp: Any) -> None:
        self._contract = contract
        self._trt = trt
        self._trtp = trtp

    def register(self) -> None:
        """In the order that TensorRT asks for."""
        trtp: Any = self._trtp
        name, described = f"{NAMESPACE}::{self._contract.name}", trtp.TensorDesc
        outputs = ("outputs", _tuple_of(*[described] * len(self._contract.outputs)))
        taken = [*((one.name, described) for one in self._contract.inputs), ("build", str)]
        compiled = _tuple_of(str | bytes, str | bytes, trtp.KernelLaunchParams, trtp.SymExprs)
        trtp.register(name, lazy_register=True)(_signed(self.describe, taken, outputs[1]))
        trtp.autotune(name)(_signed(self.autotune, [*taken, outputs], list.__class_getitem__(trtp.AutoTuneCombination)))
        trtp.aot_impl(name)(_signed(self.compile, [*taken, outputs, ("tactic", int)], compiled))

    def describe(self, *inputs: Any, build: str) -> tuple[Any, ...]:
        """Types and shapes of the outputs."""
        chosen, named = _specimen(self._contract, build), self._named(inputs)
        shapes = self._contract.shapes_of(self._dims(inputs), chosen.constants)
        return tuple(
            named[one.aliases].aliased()
            if one.aliases
            else self._trtp.from_shape_expr(tuple(shape), self._type(one, chosen.activation))
            for one, shape in zip(self._contract.outputs, shapes, strict=True)
        )

    def autotune(self, *arguments: Any) -> list[Any]:
        """One combination: the types that the kernel is compiled for, all of it contiguous."""
        chosen = _specimen(self._contract, arguments[len(self._contract.inputs)])
        arguments_of = (*self._contract.inputs, *self._contract.outputs)
        types = [TYPE_NAMES[self._contract.element_type(one, chosen.activation)][1] for one in arguments_of]
        return [self._trtp.AutoTuneCombination(", ".join(types), "LINEAR", [TACTIC])]

    def compile(self, *arguments: Any) -> tuple[str, str, Any, Any]:
        """The kernel's name and PTX, its launch and its int32 arguments."""
        count = len(self._contract.inputs)
        chosen, dims = _specimen(self._contract, arguments[count]), self._dims(arguments[:count])
        made = _compiled(self._contract, arguments[count])
        grid = self._contract.grid_of(dims, chosen.constants)
        axes = dict(zip(("grid_x", "grid_y", "grid_z"), grid, strict=False))
        launch = self._trtp.KernelLaunchParams(**axes, block_x=made.threads, shared_mem=made.shared_bytes)
        sizes = self._contract.sizes_of(dims, chosen.constants)
        extra = self._trtp.SymIntExprs(len(sizes))
        for place, size in enumerate(sizes):
            extra[place] = self._trtp.SymInt32(size)
        return made.entry, made.ptx, launch, extra

    def _named(self, inputs: Sequence[Any]) -> dict[str, Any]:
        return {one.name: description for one, description in zip(self._contract.inputs, inputs, strict=True)}

    def _dims(self, inputs: Sequence[Any]) -> dict[str, Any]:
        return {name: description.shape_expr for name, description in self._named(inputs).items()}

    def _type(self, argument: Any, activation: str) -> Any:
        return getattr(self._trt.DataType, TYPE_NAMES[self._contract.element_type(argument, activation)][0])


def _signed(function: Any, parameters: Sequence[tuple[str, Any]], returned: Any) -> Any:
    """A function that does the same and shows TensorRT these parameters, which are all positional or by keyword."""

    def call(*arguments: Any, **named: Any) -> Any:
        return function(*arguments, **named)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    shown = [inspect.Parameter(name, kind, annotation=annotation) for name, annotation in parameters]
    call.__signature__ = inspect.Signature(shown, return_annotation=returned)  # type: ignore[attr-defined]
    return call


def _tuple_of(*kinds: Any) -> Any:
    return tuple.__class_getitem__(kinds)


def _specimen(contract: Contract, build: str) -> Any:
    given = json.loads(build)
    return specimen(contract, given["constants"], given["activation"], given["architecture"])


@cache
def _compiled(contract: Contract, build: str) -> Any:
    from kernels.aot import compile_ahead  # Triton is needed to build an engine, not to run one

    return compile_ahead(_specimen(contract, build))
