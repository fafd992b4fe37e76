"""The one file that imports ONNX Runtime: loads a graph and runs it on the CPU."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from services.executor.models.checkpoint import InvalidCheckpoint
from services.executor.models.onnx_graph import OnnxGraph

LOG_ERRORS_ONLY = 3
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
NO_FLASH_ATTENTION = "ORT_GQA_DISABLE_FLASH_ATTENTION"


@dataclass(frozen=True)
class DeviceBuffer:
    """Rows of `shape` and `kind` in a GPU's memory, from `address` on."""

    address: int
    shape: tuple[int, ...]
    kind: Any


Memory = Mapping[tuple[str, str], NDArray[np.float32] | DeviceBuffer]


def check_cuda() -> None:
    """Refuses where this ONNX Runtime knows no NVIDIA GPU.

    Raises:
        OSError: it does not.
    """
    offered = onnxruntime.get_available_providers()
    if CUDA not in offered:
        raise OSError(f"ONNX Runtime offers {', '.join(offered)}, expected {CUDA} of onnxruntime-gpu")


class OnnxSession:
    """One loaded graph. Calls block, and only one may be under way.

    Args:
        graph: what to run; its constants may lie in memory-mapped files, which must stay.
        output: name of the output that a run returns.
        threads: threads within an operator, the caller's included.
        memory: buffers `[rows, ...]` by input and output name that runs read and write in place.
        provider: CPU, or CUDA for the first GPU.

    Raises:
        InvalidCheckpoint: ONNX Runtime refuses the graph.
        OSError: it cannot be run there.
    """

    def __init__(
        self, graph: OnnxGraph, output: str, threads: int, memory: Memory | None = None, provider: str = CPU
    ) -> None:
        # Its sums depend on how long other rows are; it is no faster here, but needs less memory.
        os.environ[NO_FLASH_ATTENTION] = "1"  # ONNX Runtime knows no other way to say it
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = LOG_ERRORS_ONLY
        # Services share their cores: threads wait for the next operator's work in a short spin, and never between runs.
        options.add_session_config_entry("session.intra_op.spin_duration_us", "50")
        options.add_session_config_entry("session.force_spinning_stop", "1")
        value_of = onnxruntime.OrtValue.ortvalue_from_numpy
        self._constants = {name: value_of(value) for name, value in graph.constants.items()}
        options.add_external_initializers(list(self._constants), list(self._constants.values()))
        try:
            self._session = onnxruntime.InferenceSession(graph.model, options, providers=[provider])
        except Exception as error:
            raise InvalidCheckpoint(f"ONNX Runtime refuses the graph: {error}") from error
        if provider not in self._session.get_providers():  # it only logs which of a GPU's libraries are missing
            raise OSError(
                f"ONNX Runtime runs on {self._session.get_providers()}, expected {provider}: its log says why"
            )
        self._output = output
        self._memory = memory or {}
        self._bindings: dict[tuple[int, int], Any] = {}

    def run(self, feeds: Mapping[str, NDArray[Any]], rows: int = 0, first: int = 0) -> NDArray[np.float32]:
        """Runs the graph on inputs by name and `rows` of memory from row `first` on, and returns its output."""
        binding = self._bindings.get((first, rows)) or self._bind(first, rows)
        for name, value in feeds.items():
            binding.bind_cpu_input(name, value)
        binding.bind_output(self._output)  # anew, because its shape may differ from the last run's
        self._session.run_with_iobinding(binding)
        result: NDArray[np.float32] = binding.get_outputs()[0].numpy()
        return result

    def _bind(self, first: int, rows: int) -> Any:
        """Once for each stretch of rows: a decoder of many layers has many buffers."""
        binding = self._bindings[first, rows] = self._session.io_binding()
        binding.bind_output(self._output)  # first, so that it is the first of the outputs
        for (name, out), buffer in self._memory.items():
            if isinstance(buffer, DeviceBuffer):
                at = buffer.address + first * math.prod(buffer.shape) * np.dtype(buffer.kind).itemsize
                place = ("cuda", 0, buffer.kind, (rows, *buffer.shape), at)
                binding.bind_input(name, *place)
                binding.bind_output(out, *place)
                continue
            value = onnxruntime.OrtValue.ortvalue_from_numpy(buffer[first : first + rows])
            binding.bind_ortvalue_input(name, value)
            binding.bind_ortvalue_output(out, value)
        return binding
