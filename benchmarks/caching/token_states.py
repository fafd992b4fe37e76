"""What the repository's encoder makes of every token of a text: a vector each after some of its layers."""

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.executor.models.checkpoint import Checkpoint, open_checkpoint
from services.executor.models.emitter import Weight
from services.executor.models.encoder import emit_encoder, encoder_shape
from services.executor.models.onnx_emitter import TOKENS, OnnxEmitter
from services.executor.models.onnx_linear import full_linear
from services.executor.onnx_session import OnnxSession
from services.executor.sentence_encoder import SentenceEncoder

_STATES = "states"
_BATCH = 64


class Read(NamedTuple):
    """A text's tokens `[tokens]`, special ones included, and their states `[layers, tokens, hidden]`."""

    ids: NDArray[np.int64]
    states: NDArray[np.float32]


class TokenStates:
    """An encoder, asked for the states after its first layer and its last; `digest` tells encoders apart."""

    def __init__(self, folder: Path) -> None:
        encoder = SentenceEncoder(folder, "fp32", 1)
        self.digest, self._tokenise = encoder.digest, encoder.tokenise
        checkpoint = open_checkpoint(folder)
        shape = encoder_shape(checkpoint)
        emitter = _Emitter(checkpoint)
        emit_encoder(emitter, shape)
        _, first, *_, last = emitter.normed[::2]
        both = emitter.graph.node("Concat", [first, last], axis=-1)
        emitter.graph.output(both, _STATES, np.float32, ["rows", "positions", 2 * shape.hidden])
        self._session = OnnxSession(emitter.graph.finish(), _STATES, 1)

    def ids(self, text: str) -> tuple[int, ...]:
        """The text's tokens within the encoder's window."""
        return self._tokenise(text).ids

    def read(self, texts: Iterable[str]) -> dict[str, Read]:
        """What is read in each text."""
        rows = sorted(((self.ids(text), text) for text in set(texts)), key=lambda row: len(row[0]))
        found: dict[str, Read] = {}
        for _, same in groupby(rows, key=lambda row: len(row[0])):
            equal = list(same)
            for batch in (equal[start : start + _BATCH] for start in range(0, len(equal), _BATCH)):
                tokens = np.array([ids for ids, _ in batch], np.int64)
                states = np.stack(np.split(self._session.run({TOKENS: tokens}), 2, axis=-1), 1)
                found |= {text: Read(*one) for (_, text), *one in zip(batch, tokens, states, strict=True)}
        return found


class _Emitter(OnnxEmitter):
    """Keeps what each norm gives: the embeddings' first, then two for each layer, of which the second ends it."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint, full_linear, ["rows", "positions"])
        self.normed: list[str] = []

    def add_layer_norm(self, x: str, residual: str, weight: Weight, bias: Weight, epsilon: float) -> str:
        self.normed.append(super().add_layer_norm(x, residual, weight, bias, epsilon))
        return self.normed[-1]
