"""A GPU on the host: memory whose bounds are checked, and launches of PTX's arguments by Triton's interpreter."""

import ctypes
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from kernels import aot
from kernels.aot import Compiled
from kernels.cuda_driver import CudaUnavailable
from kernels.launch import TORCH_TYPES
from kernels.specimens import Specimen

INTERPRETING = threading.Lock()  # a device takes launches of several threads, the interpreter does not
COMPILED: list[Specimen] = []  # what is loaded by its place


class InterpretedDriver:
    """What `CudaDriver` is. What was given back, or lies outside of what was given out, is not touched unnoticed.

    `broken` fails every call, as a device does after a fault.
    """

    architecture = 90
    name = "Interpreted 9000"

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.held: dict[int, Any] = {}
        self.launched: list[str] = []
        self.broken = False
        self.closed = False
        patch.setattr(aot, "compile_ahead", _compiled)

    def activate(self) -> None:
        if self.broken or self.closed:
            raise CudaUnavailable("cuCtxSetCurrent: the driver answers 719, expected 0")

    def allocate(self, size: int) -> int:
        self.activate()
        memory = np.zeros(size, np.uint8)
        self.held[memory.ctypes.data] = memory
        return int(memory.ctypes.data)

    def free(self, address: int) -> None:
        self.held.pop(address)

    def close(self) -> None:
        self.closed = True
        self.held.clear()

    def upload(self, address: int, values: Any) -> None:
        self._at(address, values.nbytes)[:] = np.ascontiguousarray(values).reshape(-1).view(np.uint8)

    def download(self, address: int, into: Any) -> None:
        into.reshape(-1).view(np.uint8)[:] = self._at(address, into.nbytes)

    def copy_rows(self, source: int, source_pitch: int, target: int, target_pitch: int, width: int, rows: int) -> None:
        for row in range(rows):
            self._at(target + row * target_pitch, width)[:] = self._at(source + row * source_pitch, width)

    def load(self, ptx: str, entry: str, shared_bytes: int) -> Specimen:
        assert (entry, shared_bytes) == ("entry", 7)
        return COMPILED[int(ptx)]

    def launch(
        self, chosen: Specimen, grid: Sequence[int], threads: int, shared_bytes: int, values: Sequence[Any],
        stream: int | None = None,
    ) -> None:  # fmt: skip
        """Interprets; each argument is of the width that the contract gives it in its place."""
        self.activate()
        contract = chosen.contract
        assert (threads, shared_bytes) == (32 * chosen.configuration.num_warps, 7)
        pointers = [one.type for one in contract.inputs], [one.type for one in contract.outputs]
        kinds = [*pointers[0], *(len(contract.sizes) * ["size"]), *pointers[1]]
        arguments = [_argument(kind, value, chosen) for kind, value in zip(kinds, values, strict=True)]
        named = {name: chosen.constants[name] for name in (*contract.constants, *contract.tuned)}
        with INTERPRETING:
            contract.function()[tuple(grid)](*arguments, **named)
        self.launched.append(contract.name)

    def _at(self, address: int, size: int) -> Any:
        self.activate()
        for begin, memory in self.held.items():
            if begin <= address and address + size <= begin + len(memory):
                return memory[address - begin :][:size]
        raise AssertionError(f"{size} bytes at {address} are not the driver's")


def _compiled(chosen: Specimen) -> Compiled:
    COMPILED.append(chosen)
    return Compiled(str(len(COMPILED) - 1), "entry", 32 * chosen.configuration.num_warps, 7)


def _argument(kind: str, value: Any, chosen: Specimen) -> Any:
    """An int, or a tensor that begins at an address: the interpreter reads on from there as the kernel says."""
    if kind == "size":
        assert isinstance(value, np.int32)
        return int(value)
    assert isinstance(value, np.uint64)
    element = TORCH_TYPES[chosen.activation if kind == "activation" else kind]
    return torch.frombuffer((ctypes.c_char * element.itemsize).from_address(int(value)), dtype=element)
