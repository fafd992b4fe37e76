"""Finds out whether a folder has every tensor that its model needs, from the headers of its files alone."""

from collections.abc import Sequence

from services.executor.models.checkpoint import Checkpoint
from services.executor.models.decoder import DecoderShape, emit_decoder
from services.executor.models.emitter import CachedAttention, Weight
from services.executor.models.encoder import EncoderShape, emit_encoder


def check_decoder(checkpoint: Checkpoint, shape: DecoderShape) -> None:
    """Raises InvalidCheckpoint, which names the tensor, where one is absent, shaped otherwise or of another type."""
    emit_decoder(_HeaderCheck(checkpoint), shape)


def check_encoder(checkpoint: Checkpoint, shape: EncoderShape) -> None:
    """As `check_decoder`."""
    emit_encoder(_HeaderCheck(checkpoint), shape)


class _HeaderCheck:
    """Operators of both families that compute nothing and look at each weight."""

    tokens = None

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint

    def _look(self, *weights: Weight | None) -> None:
        for weight in weights:
            if weight:
                self._checkpoint.stored(weight.name, weight.shape)

    def embed(self, ids: None, table: Weight) -> None:
        self._look(table)

    def linear(self, x: None, weights: Sequence[Weight], biases: Sequence[Weight] = ()) -> None:
        self._look(*weights, *biases)

    def rms_norm(self, x: None, weight: Weight, epsilon: float) -> None:
        self._look(weight)

    def add_rms_norm(self, x: None, residual: None, weight: Weight, epsilon: float) -> tuple[None, None]:
        self._look(weight)
        return None, None

    def attend_cached(self, qkv: None, layer: int, attention: CachedAttention) -> None:
        if attention.norms:
            self._look(attention.norms.queries, attention.norms.keys)

    def swiglu(self, x: None, gate: Weight, up: Weight) -> None:
        self._look(gate, up)

    def last_position(self, x: None) -> None:
        pass

    def first_positions(self, like: None, table: Weight, offset: int, added: Weight | None) -> None:
        self._look(table, added)

    def add_layer_norm(self, x: None, residual: None, weight: Weight, bias: Weight, epsilon: float) -> None:
        self._look(weight, bias)

    def attend(self, qkv: None, heads: int) -> None:
        pass

    def gelu(self, x: None) -> None:
        pass

    def mean(self, x: None) -> None:
        pass

    def first(self, x: None) -> None:
        pass

    def unit_length(self, x: None) -> None:
        pass
