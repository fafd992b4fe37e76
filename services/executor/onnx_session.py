"""The one file that imports ONNX Runtime: loads a graph and runs it on the CPU."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from services.executor.models.checkpoint import InvalidCheckpoint
from services.executor.models.onnx_graph import OnnxGraph

LOG_ERRORS_ONLY = 3


class OnnxSession:
    """One loaded graph. Calls block, and only one may be under way.

    Args:
        graph: what to run; its constants may lie in memory-mapped files, which must stay.
        output: name of the output that a run returns.
        threads: threads within an operator, the caller's included.
        memory: buffers by input and output name that every run reads and writes in place.

    Raises:
        InvalidCheckpoint: ONNX Runtime refuses the graph.
    """

    def __init__(
        self,
        graph: OnnxGraph,
        output: str,
        threads: int,
        memory: Mapping[tuple[str, str], NDArray[np.float32]] | None = None,
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = LOG_ERRORS_ONLY
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # services share their cores
        value_of = onnxruntime.OrtValue.ortvalue_from_numpy
        self._constants = {name: value_of(value) for name, value in graph.constants.items()}
        options.add_external_initializers(list(self._constants), list(self._constants.values()))
        try:
            self._session = onnxruntime.InferenceSession(graph.model, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise InvalidCheckpoint(f"ONNX Runtime refuses the graph: {error}") from error
        self._output = output
        self._binding: Any = self._session.io_binding()
        self._binding.bind_output(output)  # first, so that it is the first of the outputs
        for (name, out), buffer in (memory or {}).items():
            value = value_of(buffer)
            self._binding.bind_ortvalue_input(name, value)
            self._binding.bind_ortvalue_output(out, value)

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Runs the graph on inputs by name and returns its output."""
        for name, value in feeds.items():
            self._binding.bind_cpu_input(name, value)
        self._binding.bind_output(self._output)  # anew, because its shape may differ from the last run's
        self._session.run_with_iobinding(self._binding)
        result: NDArray[np.float32] = self._binding.get_outputs()[0].numpy()
        return result
