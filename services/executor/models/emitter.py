"""The operators a model is written against, so that one definition runs on NumPy, ONNX Runtime and what comes after.

Activations are `[rows, positions, features]`; a backend decides what a value is (an array, a graph edge).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from services.executor.models.rotary import Rotary

Value = TypeVar("Value")


@dataclass(frozen=True)
class Weight:
    """A checkpoint tensor by name, with the shape the definition expects of it."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class HeadNorms:
    """Root-mean-square norms over each query's and each key's head before they are rotated: weights `[head_dim]`."""

    queries: Weight
    keys: Weight
    epsilon: float


@dataclass(frozen=True)
class CachedAttention:
    """Causal grouped-query attention over a KV memory of `[slot, kv_heads, max_positions, head_dim]` a layer.

    `window` is how many positions a query sees, its own included; all before it where None.
    """

    heads: int
    kv_heads: int
    head_dim: int
    rotary: Rotary
    max_positions: int
    window: int | None = None
    norms: HeadNorms | None = None


class Emitter(Protocol[Value]):
    """What both families need."""

    @property
    def tokens(self) -> Value:
        """Token ids `[rows, positions]`."""

    def embed(self, ids: Value, table: Weight) -> Value:
        """Rows of `table` `[vocabulary, features]`."""

    def linear(self, x: Value, weights: Sequence[Weight], biases: Sequence[Weight] = ()) -> Value:
        """`x` times each weight `[out, in]` transposed, outputs side by side; the first place precision may differ."""


class DecoderEmitter(Emitter[Value], Protocol[Value]):
    """What a decoder adds; the backend holds the KV memory and each row's lengths."""

    def rms_norm(self, x: Value, weight: Weight, epsilon: float) -> Value:
        """Root-mean-square norm over features (Zhang and Sennrich 2019)."""

    def add_rms_norm(self, x: Value, residual: Value, weight: Weight, epsilon: float) -> tuple[Value, Value]:
        """`(rms_norm(x + residual), x + residual)`."""

    def attend_cached(self, qkv: Value, layer: int, attention: CachedAttention) -> Value:
        """Norms and rotates queries and keys, appends keys and values to the layer's memory, attends to what is seen.

        `qkv` is queries, keys and values side by side; the result is `[rows, positions, heads * head_dim]`.
        """

    def swiglu(self, x: Value, gate: Weight, up: Weight) -> Value:
        """`silu(x gate) * (x up)`, products as in `linear` (Shazeer 2020)."""

    def last_position(self, x: Value) -> Value:
        """Each row's last valid position: `[rows, features]`."""


class EncoderEmitter(Emitter[Value], Protocol[Value]):
    """What an encoder adds. All rows of a call are equally long, so nothing is padded and nothing is masked."""

    def first_positions(self, like: Value, table: Weight, offset: int, added: Weight | None) -> Value:
        """`[positions, features]`: `table` from row `offset` on, as many rows as `like` has positions.

        Row 0 of `added`, where given, is added to each.
        """

    def add_layer_norm(self, x: Value, residual: Value, weight: Weight, bias: Weight, epsilon: float) -> Value:
        """Layer norm over features of `x + residual` (Ba et al. 2016)."""

    def attend(self, qkv: Value, heads: int) -> Value:
        """Every position attends to every position of its row; `qkv` as in `attend_cached`, with equal head counts."""

    def gelu(self, x: Value) -> Value:
        """The exact, erf-based GELU (Hendrycks and Gimpel 2016)."""

    def mean(self, x: Value) -> Value:
        """Mean over positions: `[rows, features]`."""

    def first(self, x: Value) -> Value:
        """The first position: `[rows, features]`."""

    def unit_length(self, x: Value) -> Value:
        """`[rows, features]` divided by its Euclidean norm."""
