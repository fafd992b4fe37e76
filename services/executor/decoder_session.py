"""A decoder loaded for one request at a time: its graph, its KV memory and the passes over both."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.executor.models.checkpoint import open_checkpoint
from services.executor.models.decoder import decoder_shape
from services.executor.models.onnx_emitter import (
    LAST_POSITIONS,
    LOGITS,
    NEW_LENGTHS,
    TOKENS,
    decoder_graph,
    memory_names,
)
from services.executor.models.onnx_linear import Linear
from services.executor.onnx_session import OnnxSession

SLOTS = 1


class DecoderSession:
    """Blocks while it works; only one call may be under way.

    Args:
        folder: Hugging Face folder.
        linear: how linear layers are stored and multiplied.
        threads: threads within an operator.
        context_tokens: lowers the model's own limit of prompt and answer together, and with it the memory.

    Raises:
        InvalidCheckpoint: the folder cannot be used.
    """

    def __init__(self, folder: Path, linear: Linear, threads: int, context_tokens: int | None = None) -> None:
        checkpoint = open_checkpoint(folder)
        shape = decoder_shape(checkpoint, context_tokens)
        attention = shape.attention
        self.context_tokens = attention.max_positions
        self.digest = checkpoint.digest()
        buffer = (SLOTS, attention.kv_heads, attention.max_positions, attention.head_dim)
        memory = {names: np.zeros(buffer, np.float32) for names in memory_names(shape.layers)}
        self._session = OnnxSession(decoder_graph(checkpoint, shape, linear), LOGITS, threads, memory)

    def logits_after(self, tokens: Sequence[int], start: int) -> NDArray[np.float32]:
        """Logits `[vocabulary]` behind `tokens` `[n]`, of which the first comes to lie at position `start`.

        What memory holds before `start` must be this conversation's.
        """
        feeds: dict[str, NDArray[Any]] = {
            TOKENS: np.array([tokens], np.int64),
            NEW_LENGTHS: np.array([len(tokens)], np.int32),
            LAST_POSITIONS: np.array([start + len(tokens) - 1], np.int32),
        }
        logits: NDArray[np.float32] = self._session.run(feeds)[0]
        return logits
