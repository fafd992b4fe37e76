"""A kernel's PTX on a device, launched by its contract on addresses, with neither torch nor TensorRT."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from kernels.contract import Constants, Contract
from kernels.cuda_driver import CudaDriver
from kernels.specimens import Specimen


class Tensor(NamedTuple):
    """Where a contiguous tensor lies, and its sizes."""

    address: int
    sizes: tuple[int, ...]


class DeviceKernel:
    """Compiled when it is made, which takes Triton and a second.

    Args:
        driver: of the device, activated in this thread.
        chosen: the kernel with all its constants.

    Raises:
        CudaUnavailable: the driver refuses it.
        ImportError: there is no Triton.
    """

    def __init__(self, driver: CudaDriver, chosen: Specimen) -> None:
        from kernels.aot import compile_ahead  # imports Triton, which whoever never makes one does not need

        self._driver = driver
        self._chosen = chosen
        self._made = compile_ahead(chosen)
        self._function = driver.load(self._made.ptx, self._made.entry, self._made.shared_bytes)

    def __call__(self, inputs: Mapping[str, Tensor], outputs: Sequence[int], stream: int | None = None) -> None:
        """Launches, on the driver's own stream unless another is named; `outputs` are addresses."""
        contract, constants = self._chosen.contract, self._chosen.constants
        grid = contract.grid_of({name: tensor.sizes for name, tensor in inputs.items()}, constants)
        values = arguments_of(contract, constants, inputs, outputs)
        self._driver.launch(self._function, grid, self._made.threads, self._made.shared_bytes, values, stream)


def arguments_of(
    contract: Contract, constants: Constants, inputs: Mapping[str, Tensor], outputs: Sequence[int]
) -> list[np.uint64 | np.int32]:
    """What a launcher passes, in TensorRT's order: pointers of inputs, int32 sizes, pointers of outputs."""
    sizes = contract.sizes_of({name: tensor.sizes for name, tensor in inputs.items()}, constants)
    return [
        *(np.uint64(inputs[one.name].address) for one in contract.inputs),
        *(np.int32(size) for size in sizes),
        *(np.uint64(address) for address in outputs),
    ]
