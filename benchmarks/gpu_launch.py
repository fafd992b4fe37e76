"""The two ways of launching that `benchmarks.gpu` compares, and whether what they write is what the references say."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.gpu_cases import Case, Inputs, Launcher
from kernels.cuda_driver import CudaDriver
from kernels.device_kernel import DeviceKernel, Tensor
from kernels.launch import launch, new_outputs
from kernels.specimens import Specimen

# Of a value and of the values' root mean square together: several roundings of each type, or one of FP8.
TOLERANCES = {torch.float32: 1e-4, torch.float16: 2**-8, torch.bfloat16: 2**-6, torch.float8_e4m3fn: 2**-4}
UNWRITTEN = 0x7F  # each byte of an output before its kernel runs


def agrees(case: Case, launcher: Launcher) -> bool:
    """Whether every output, memory changed in place included, is what the reference says; inputs stay as they are."""
    expected = case.reference({name: _exact(tensor) for name, tensor in case.inputs.items()})
    found = case.run(launcher, {name: tensor.clone() for name, tensor in case.inputs.items()})
    if len(found) != len(expected):
        return False
    kind = next(iter(case.inputs.values())).dtype  # sums of a coarse type are as coarse in a finer one
    return all(_close(one, np.asarray(other), kind) for one, other in zip(found, expected, strict=True))


def by_triton(chosen: Specimen, inputs: Inputs) -> Sequence[Any]:
    """Triton's own launcher: compiled on a GPU, interpreted on a CPU."""
    options = {"num_warps": chosen.configuration.num_warps, "num_stages": chosen.configuration.num_stages}
    outputs = _unwritten(chosen, inputs)
    return launch(chosen.contract, inputs, chosen.constants, chosen.activation, options, outputs=outputs)


class ByDriver:
    """Launches the PTX that a TensorRT plugin embeds, in TensorRT's argument order, by the CUDA driver alone.

    Args:
        driver: of the device.
        stream: names the stream to launch on.
        timed: leaves outputs as they come, where they are not compared.
    """

    def __init__(self, driver: CudaDriver, stream: Callable[[], int], timed: bool = False) -> None:
        self._driver = driver
        self._stream = stream
        self._outputs = _empty if timed else _unwritten
        self._loaded: dict[Any, DeviceKernel] = {}

    def __call__(self, chosen: Specimen, inputs: Inputs) -> Sequence[Any]:
        """Outputs, those that alias an input being that input."""
        kernel, outputs = self._load(chosen), self._outputs(chosen, inputs)
        kernel(tensors(inputs), [tensor.data_ptr() for tensor in outputs], self._stream())
        return outputs

    def _load(self, chosen: Specimen) -> DeviceKernel:
        tuned = (chosen.configuration.num_warps, chosen.configuration.num_stages)
        key = (chosen.contract.name, chosen.activation, tuple(sorted(chosen.constants.items())), tuned)
        if key not in self._loaded:
            self._loaded[key] = DeviceKernel(self._driver, chosen)
        return self._loaded[key]


def current_stream() -> int:
    """The address of torch's."""
    return int(torch.cuda.current_stream().cuda_stream)


def tensors(inputs: Inputs) -> dict[str, Tensor]:
    """Where torch's tensors lie."""
    return {name: Tensor(one.data_ptr(), tuple(one.shape)) for name, one in inputs.items()}


def _empty(chosen: Specimen, inputs: Inputs) -> Sequence[Any]:
    return new_outputs(chosen.contract, inputs, chosen.constants, chosen.activation)


def _unwritten(chosen: Specimen, inputs: Inputs) -> Sequence[Any]:
    """Outputs in which what a kernel does not write shows."""
    outputs = _empty(chosen, inputs)
    for one, tensor in zip(chosen.contract.outputs, outputs, strict=True):
        if not one.aliases:
            tensor.view(torch.uint8).fill_(UNWRITTEN)
    return outputs


def _exact(tensor: Any) -> Any:
    return (tensor.double() if tensor.is_floating_point() else tensor).cpu().numpy()


def _close(found: Any, expected: Any, kind: Any) -> bool:
    values = _exact(found)
    if values.shape != expected.shape:
        return False
    if not found.is_floating_point():
        return bool((values == expected).all())
    finite = np.isfinite(expected)
    if not np.array_equal(values[~finite], expected[~finite]):
        return False
    values, expected = values[finite], expected[finite]
    scale = np.sqrt(np.square(expected).mean()) if expected.size else 0.0
    rate = max(TOLERANCES[found.dtype], TOLERANCES.get(kind, 0.0))
    return bool((np.abs(values - expected) <= rate * (np.abs(expected) + scale)).all())
