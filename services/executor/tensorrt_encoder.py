"""A sentence encoder on TensorRT: equally long token rows to vectors, by one engine with float16 activations."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.cuda_driver import CudaDriver, open_device
from kernels.tensorrt_plugins import kernels_version
from services.executor.models.checkpoint import Checkpoint
from services.executor.models.encoder import EncoderShape
from services.executor.models.graph_cache import code_version
from services.executor.models.tensorrt_emitter import EMBEDDINGS, TOKENS, emit_encoder_network
from services.executor.models.tensorrt_linear import Precision
from services.executor.tensorrt_builder import EngineKey, Range, open_engine
from services.executor.tensorrt_library import TensorRt, load_tensorrt

ACTIVATION = "fp16"
MOST_ROWS, USUAL_ROWS, USUAL_TOKENS = 32, 8, 32


def open_tensorrt_encoder(checkpoint: Checkpoint, shape: EncoderShape, engines: Path) -> "TensorRtEncoder":
    """The encoder on the first GPU; the first time, its engine is built, which takes a minute.

    Raises:
        OSError: there is no TensorRT or no GPU.
        InvalidCheckpoint: the folder cannot be used, or TensorRT refuses its network.
    """
    library = load_tensorrt()
    with open_device() as driver:
        return TensorRtEncoder(library, driver, checkpoint, shape, engines)


class TensorRtEncoder:
    """Blocks while it works; only one call may be under way.

    Args:
        library: TensorRT.
        driver: of the device, which the process keeps.
        checkpoint: the weights.
        shape: their sizes.
        engines: folder of built engines.

    Raises:
        InvalidCheckpoint: the weights cannot be used, or TensorRT refuses their network.
    """

    def __init__(
        self,
        library: TensorRt,
        driver: CudaDriver,
        checkpoint: Checkpoint,
        shape: EncoderShape,
        engines: Path,
    ) -> None:
        self._driver = driver
        self._hidden = shape.hidden
        options = {
            "network": "encoder",
            "activation": ACTIVATION,
            "rows": MOST_ROWS,
            "tokens": shape.max_tokens,
            "pooling": shape.pooling,
        }
        code = [code_version(), kernels_version()]
        key = EngineKey(checkpoint.digest(), driver.name, driver.architecture, options, code)

        def emit(graph: Any) -> None:
            emit_encoder_network(graph, checkpoint, shape, Precision())

        usual = min(USUAL_TOKENS, shape.max_tokens)
        rows: Range = ((1, 1), (USUAL_ROWS, usual), (MOST_ROWS, shape.max_tokens))
        self._engine = open_engine(library, key, engines, ACTIVATION, emit, [{TOKENS: rows}])
        self._context = self._engine.create_execution_context()
        self._context.set_optimization_profile_async(0, driver.stream)
        self._tokens = driver.allocate(MOST_ROWS * shape.max_tokens * 4)
        self._vectors = driver.allocate(MOST_ROWS * shape.hidden * 4)
        self._context.set_tensor_address(TOKENS, self._tokens)
        self._context.set_tensor_address(EMBEDDINGS, self._vectors)

    def run(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors `[rows, hidden]` of tokens `[rows, positions]`, any number of rows.

        Raises:
            RuntimeError: TensorRT refuses a run; its log says why.
        """
        self._driver.activate()
        vectors = np.empty((len(tokens), self._hidden), np.float32)
        for at in range(0, len(tokens), MOST_ROWS):
            part = tokens[at : at + MOST_ROWS].astype(np.int32)
            self._driver.upload(self._tokens, part)
            self._context.set_input_shape(TOKENS, part.shape)
            if not self._context.execute_async_v3(self._driver.stream):
                raise RuntimeError("TensorRT refuses to encode: its log says why")
            self._driver.download(self._vectors, vectors[at : at + MOST_ROWS])
        return vectors
