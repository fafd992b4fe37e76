"""Launches the PTX that a TensorRT plugin embeds, in TensorRT's argument order, by the CUDA driver alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from kernels.aot import compile_ahead
from kernels.contract import Constants, Contract
from kernels.cuda_driver import CudaDriver
from kernels.specimens import Specimen

TOLERANCE = 1e-3


def arguments_of(
    contract: Contract, constants: Constants, inputs: Mapping[str, Any], outputs: Sequence[Any]
) -> list[np.uint64 | np.int32]:
    """What a launcher passes, in TensorRT's order: pointers of inputs, int32 sizes, pointers of outputs."""
    dims = {name: tuple(tensor.shape) for name, tensor in inputs.items()}
    return [
        *(np.uint64(inputs[one.name].data_ptr()) for one in contract.inputs),
        *(np.int32(size) for size in contract.sizes_of(dims, constants)),
        *(np.uint64(tensor.data_ptr()) for tensor in outputs),
    ]


def launched_as_tensorrt_does(
    chosen: Specimen, driver: CudaDriver, inputs: Mapping[str, Any], expected: Sequence[Any]
) -> bool:
    """Whether the very PTX that a plugin embeds, launched by the driver, writes what Triton's launch wrote."""
    contract, made = chosen.contract, compile_ahead(chosen)
    dims = {name: tuple(tensor.shape) for name, tensor in inputs.items()}
    outputs = [
        inputs[one.aliases] if one.aliases else torch.zeros_like(tensor)
        for one, tensor in zip(contract.outputs, expected, strict=True)
    ]
    torch.cuda.synchronize()
    function = driver.load(made.ptx, made.entry, made.shared_bytes)
    values = arguments_of(contract, chosen.constants, inputs, outputs)
    driver.launch(function, contract.grid_of(dims, chosen.constants), made.threads, made.shared_bytes, values)
    driver.wait()
    pairs = zip(outputs, expected, strict=True)
    return all(torch.allclose(one.float(), other.float(), rtol=TOLERANCE, atol=TOLERANCE) for one, other in pairs)
