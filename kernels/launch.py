"""Launches a kernel on torch tensors by its contract: in Triton's interpreter on a CPU, compiled on a GPU."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from kernels.contract import Constants, Contract

TORCH_TYPES = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "fp8e4nv": torch.float8_e4m3fn,
    "i32": torch.int32,
    "i8": torch.int8,
}


def launch(
    contract: Contract,
    inputs: Mapping[str, torch.Tensor],
    constants: Constants,
    activation: str,
    options: Mapping[str, int] | None = None,
    kernel: Any = None,
    outputs: Sequence[torch.Tensor] | None = None,
) -> Sequence[torch.Tensor]:
    """The outputs: given, or made as `new_outputs` makes them.

    Args:
        contract: of the kernel.
        inputs: by name; where a constant is a stride, the tensor may have it.
        constants: the model's and the tuned ones.
        activation: Triton's name of the activations' type.
        options: warps and stages.
        kernel: another function than the contract's, for tests that change one.
        outputs: where results go.
    """
    dims = {name: tuple(tensor.shape) for name, tensor in inputs.items()}
    outputs = new_outputs(contract, inputs, constants, activation) if outputs is None else outputs
    function = kernel or contract.function()
    arguments = [*(inputs[one.name] for one in contract.inputs), *contract.sizes_of(dims, constants), *outputs]
    named = {name: constants[name] for name in (*contract.constants, *contract.tuned)}
    function[tuple(contract.grid_of(dims, constants))](*arguments, **named, **(options or {}))
    return outputs


def new_outputs(
    contract: Contract, inputs: Mapping[str, torch.Tensor], constants: Constants, activation: str
) -> Sequence[torch.Tensor]:
    """Memory for the outputs, but for those that alias an input, which are that input, to be changed."""
    dims = {name: tuple(tensor.shape) for name, tensor in inputs.items()}
    device = next(iter(inputs.values())).device
    return [
        inputs[one.aliases]
        if one.aliases
        else torch.empty(tuple(shape), dtype=TORCH_TYPES[contract.element_type(one, activation)], device=device)
        for one, shape in zip(contract.outputs, contract.shapes_of(dims, constants), strict=True)
    ]
