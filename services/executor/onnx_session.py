"""The one file that imports ONNX Runtime: loads a graph and runs it on the CPU."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from services.executor.models.checkpoint import InvalidCheckpoint
from services.executor.models.onnx_graph import OnnxGraph

LOG_ERRORS_ONLY = 3
NO_FLASH_ATTENTION = "ORT_GQA_DISABLE_FLASH_ATTENTION"

Memory = Mapping[tuple[str, str], NDArray[np.float32]]


class OnnxSession:
    """One loaded graph. Calls block, and only one may be under way.

    Args:
        graph: what to run; its constants may lie in memory-mapped files, which must stay.
        output: name of the output that a run returns.
        threads: threads within an operator, the caller's included.
        memory: buffers `[rows, ...]` by input and output name that runs read and write in place.

    Raises:
        InvalidCheckpoint: ONNX Runtime refuses the graph.
    """

    def __init__(self, graph: OnnxGraph, output: str, threads: int, memory: Memory | None = None) -> None:
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
            self._session = onnxruntime.InferenceSession(graph.model, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise InvalidCheckpoint(f"ONNX Runtime refuses the graph: {error}") from error
        self._output = output
        self._memory = memory or {}
        self._bindings: dict[int, Any] = {}

    def run(self, feeds: Mapping[str, NDArray[Any]], rows: int = 0) -> NDArray[np.float32]:
        """Runs the graph on inputs by name, and on the first `rows` of memory, and returns its output."""
        binding = self._bindings.get(rows) or self._bind(rows)
        for name, value in feeds.items():
            binding.bind_cpu_input(name, value)
        binding.bind_output(self._output)  # anew, because its shape may differ from the last run's
        self._session.run_with_iobinding(binding)
        result: NDArray[np.float32] = binding.get_outputs()[0].numpy()
        return result

    def _bind(self, rows: int) -> Any:
        """Once for each number of rows: a decoder of many layers has many buffers."""
        binding = self._bindings[rows] = self._session.io_binding()
        binding.bind_output(self._output)  # first, so that it is the first of the outputs
        for (name, out), buffer in self._memory.items():
            value = onnxruntime.OrtValue.ortvalue_from_numpy(buffer[:rows])
            binding.bind_ortvalue_input(name, value)
            binding.bind_ortvalue_output(out, value)
        return binding
