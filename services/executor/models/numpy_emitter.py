"""The reference: every operator in plain float32 NumPy, evaluated at once, for tests to hold other backends against."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from services.executor.models.checkpoint import Checkpoint
from services.executor.models.emitter import CachedAttention, Weight

Array: TypeAlias = Any  # float32; NumPy's stubs lose the type at every reduction
Ids = NDArray[np.int64]


@dataclass
class NumpyMemory:
    """A decoder's state: keys and values `[layer, slot, kv_heads, max_positions, head_dim]`, lengths `[slot]`."""

    keys: Array
    values: Array
    lengths: NDArray[np.int32]


def empty_memory(layers: int, slots: int, attention: CachedAttention) -> NumpyMemory:
    """A memory of `slots` rows that hold no token yet."""
    shape = (layers, slots, attention.kv_heads, attention.max_positions, attention.head_dim)
    return NumpyMemory(np.zeros(shape, np.float32), np.zeros(shape, np.float32), np.zeros(slots, np.int32))


class NumpyEmitter:
    """Evaluates a definition on `tokens` `[rows, positions]`.

    For a decoder, `memory` holds what the rows have seen; the caller adds the positions to its lengths after a pass.
    """

    def __init__(self, checkpoint: Checkpoint, tokens: Ids, memory: NumpyMemory | None = None) -> None:
        self._checkpoint = checkpoint
        self._memory = memory
        self.tokens: NDArray[Any] = tokens

    def embed(self, ids: NDArray[Any], table: Weight) -> Array:
        """Indexing."""
        return self._read(table)[ids]

    def linear(self, x: Array, weights: Sequence[Weight], biases: Sequence[Weight] = ()) -> Array:
        """One product of the stacked weights."""
        product = x @ np.concatenate([self._read(weight) for weight in weights]).T
        return product + np.concatenate([self._read(bias) for bias in biases]) if biases else product

    def rms_norm(self, x: Array, weight: Weight, epsilon: float) -> Array:
        """As written in the paper."""
        return x / np.sqrt(np.square(x).mean(-1, keepdims=True) + np.float32(epsilon)) * self._read(weight)

    def add_rms_norm(self, x: Array, residual: Array, weight: Weight, epsilon: float) -> tuple[Array, Array]:
        """The sum, then its norm."""
        total = x + residual
        return self.rms_norm(total, weight, epsilon), total

    def attend_cached(self, qkv: Array, layer: int, attention: CachedAttention) -> Array:
        """Row by row, the whole of memory at once."""
        if self._memory is None:
            raise ValueError("a decoder needs a memory")
        heads, kv_heads, size = attention.heads, attention.kv_heads, attention.head_dim
        rows, positions, _ = qkv.shape
        split = qkv.reshape(rows, positions, heads + 2 * kv_heads, size).transpose(0, 2, 1, 3).copy()
        attended = np.zeros((rows, positions, heads, size), np.float32)
        if norms := attention.norms:
            split[:, :heads] = self.rms_norm(split[:, :heads], norms.queries, norms.epsilon)
            split[:, heads:-kv_heads] = self.rms_norm(split[:, heads:-kv_heads], norms.keys, norms.epsilon)
        cosine, sine = attention.rotary.tables(attention.max_positions)
        shared = np.arange(heads) // (heads // kv_heads)
        for row, start in enumerate(self._memory.lengths):
            end = start + positions
            turned = _rotate(split[row, : heads + kv_heads], cosine[start:end], sine[start:end])
            keys, values = self._memory.keys[layer, row], self._memory.values[layer, row]
            keys[:, start:end], values[:, start:end] = turned[heads:], split[row, heads + kv_heads :]
            scores = turned[:heads] @ keys[shared, :end].transpose(0, 2, 1) / np.float32(math.sqrt(size))
            distance = np.arange(start, end)[:, None] - np.arange(end)
            seen = (distance >= 0) & (distance < (attention.window or end))
            scores = np.where(seen, scores, -np.inf)
            attended[row] = (_softmax(scores) @ values[shared, :end]).transpose(1, 0, 2)
        return attended.reshape(rows, positions, heads * size)

    def swiglu(self, x: Array, gate: Weight, up: Weight) -> Array:
        """As written in the paper."""
        gated, linear = self.linear(x, [gate]), self.linear(x, [up])
        return gated / (1 + np.exp(-gated)) * linear

    def last_position(self, x: Array) -> Array:
        """A slice."""
        return x[:, -1]

    def first_positions(self, like: NDArray[Any], table: Weight, offset: int, added: Weight | None) -> Array:
        """A slice, plus the added row."""
        chosen = self._read(table)[offset : offset + like.shape[1]]
        return chosen if added is None else chosen + self._read(added)[0]

    def add_layer_norm(self, x: Array, residual: Array, weight: Weight, bias: Weight, epsilon: float) -> Array:
        """The sum, then its norm."""
        total = x + residual
        centred = total - total.mean(-1, keepdims=True)
        scaled = centred / np.sqrt(np.square(centred).mean(-1, keepdims=True) + np.float32(epsilon))
        return scaled * self._read(weight) + self._read(bias)

    def attend(self, qkv: Array, heads: int) -> Array:
        """All rows and heads at once."""
        rows, positions, features = qkv.shape
        split = qkv.reshape(rows, positions, 3, heads, -1).transpose(2, 0, 3, 1, 4)
        scores = split[0] @ split[1].transpose(0, 1, 3, 2) / np.float32(math.sqrt(split.shape[-1]))
        return (_softmax(scores) @ split[2]).transpose(0, 2, 1, 3).reshape(rows, positions, features // 3)

    def gelu(self, x: Array) -> Array:
        """By the error function."""
        error_function = np.vectorize(math.erf, otypes=[np.float32])
        return x * np.float32(0.5) * (1 + error_function(x / np.float32(math.sqrt(2))))

    def mean(self, x: Array) -> Array:
        """Over positions."""
        return x.mean(1)

    def first(self, x: Array) -> Array:
        """A slice."""
        return x[:, 0]

    def unit_length(self, x: Array) -> Array:
        """Division by the norm."""
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    def _read(self, weight: Weight) -> Array:
        return self._checkpoint.tensor(weight.name, weight.shape)


def _rotate(x: Array, cosine: Array, sine: Array) -> Array:
    first, second = np.split(x, 2, axis=-1)
    return np.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)


def _softmax(scores: Array) -> Array:
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)
