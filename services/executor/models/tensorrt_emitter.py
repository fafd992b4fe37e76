"""Writes a model definition as a TensorRT network: cached attention, residual norms and pooling are our plugins."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.add_rms_norm import plugin as norm
from kernels.mean_pool_l2 import plugin as pool
from services.executor.models.checkpoint import Checkpoint
from services.executor.models.decoder import DecoderShape, emit_decoder
from services.executor.models.emitter import CachedAttention, Weight
from services.executor.models.encoder import EncoderShape, emit_encoder
from services.executor.models.tensorrt_attention import NEW_LENGTHS, TensorRtAttention
from services.executor.models.tensorrt_graph import TensorRtGraph
from services.executor.models.tensorrt_linear import Precision, linear

TOKENS = "tokens"
LOGITS, EMBEDDINGS = "logits", "embeddings"


def emit_decoder_network(
    graph: TensorRtGraph,
    checkpoint: Checkpoint,
    shape: DecoderShape,
    precision: Precision,
    slots: int,
) -> None:
    """The network of a pass over one chunk a row; output `logits` float32 `[rows, vocabulary]`."""
    emitter = TensorRtEmitter(graph, checkpoint, precision, slots)
    logits = graph.reshape(emit_decoder(emitter, shape), [-1, shape.vocabulary])
    graph.output(graph.cast(logits, "fp32"), LOGITS)


def emit_encoder_network(
    graph: TensorRtGraph, checkpoint: Checkpoint, shape: EncoderShape, precision: Precision
) -> None:
    """The network of equally long texts; output `embeddings` float32 `[rows, hidden]`."""
    emitter = TensorRtEmitter(graph, checkpoint, precision)
    graph.output(emit_encoder(emitter, shape), EMBEDDINGS)


class TensorRtEmitter:
    """Adds each operator to a network; a value is a tensor `[rows, positions, features]` of the activations' type.

    A decoder's inputs, int32: `tokens` `[rows, positions]`, right-padded; `new_lengths` `[rows]`, the valid ones;
    `starts` `[rows]`, what a row's memory holds; `table` `[rows, 1]`, its slot; `key_positions`, 0, 1, ... up to the
    longest row's end. Memory is `keys_<layer>` and `values_<layer>` `[slots, kv_heads, max_positions, head_dim]`, with
    outputs of the same names and `_out` at the same addresses.

    Args:
        graph: the network that grows.
        checkpoint: where weights come from.
        precision: how linear layers are stored and multiplied.
        slots: rows of memory.
    """

    def __init__(self, graph: TensorRtGraph, checkpoint: Checkpoint, precision: Precision, slots: int = 0) -> None:
        self._graph = graph
        self._checkpoint = checkpoint
        self._precision = precision
        self._attention = TensorRtAttention(graph, slots, self._read)
        self.tokens: Any = graph.input(TOKENS, "i32", [-1, -1])

    def embed(self, ids: Any, table: Weight) -> Any:
        """Gather."""
        return self._graph.layer("add_gather", self._constant(table), ids, 0)

    def linear(self, x: Any, weights: Sequence[Weight], biases: Sequence[Weight] = ()) -> Any:
        """A product with the stacked weights, between explicit quantise and dequantise where the precision says so."""
        parts = [self._checkpoint.tensor(part.name, part.shape) for part in weights]
        product = linear(self._graph, x, np.concatenate(parts), self._precision, weights[0].name)
        if not biases:
            return product
        bias = np.concatenate([self._checkpoint.tensor(part.name, part.shape) for part in biases])
        return self._graph.binary("SUM", product, self._graph.constant(bias.reshape(1, 1, -1)))

    def rms_norm(self, x: Any, weight: Weight, epsilon: float) -> Any:
        """In float32, operator by operator."""
        return self._graph.rms_norm(x, self._read(weight), epsilon)

    def add_rms_norm(self, x: Any, residual: Any, weight: Weight, epsilon: float) -> tuple[Any, Any]:
        """Our plugin."""
        features = weight.shape[0]
        flat = [self._graph.reshape(value, [-1, features]) for value in (x, residual)]
        found = self._graph.plugin(norm.ADD_RMS_NORM, norm.constants(features, epsilon), *flat, self._constant(weight))
        return self._graph.reshape_to(found[0], self._graph.shape_of(x)), self._graph.reshape_to(
            found[1], self._graph.shape_of(x)
        )

    def attend_cached(self, qkv: Any, layer: int, attention: CachedAttention) -> Any:
        """See `TensorRtAttention`."""
        return self._attention.cached(qkv, layer, attention)

    def swiglu(self, x: Any, gate: Weight, up: Weight) -> Any:
        """Two linear layers, sigmoid and two products."""
        graph, gated, linear = self._graph, self.linear(x, [gate]), self.linear(x, [up])
        return graph.binary("PROD", graph.binary("PROD", gated, graph.activate("SIGMOID", gated)), linear)

    def last_position(self, x: Any) -> Any:
        """Gather at each row's last valid position: `[rows, 1, features]`."""
        graph = self._graph
        last = graph.binary("SUB", graph.input(NEW_LENGTHS, "i32", [-1]), graph.integers([1]))
        return graph.layer("add_gather", x, graph.reshape(last, [-1, 1]), 1, num_elementwise_dims=1)

    def first_positions(self, like: Any, table: Weight, offset: int, added: Weight | None) -> Any:
        """The sum is made now; the network slices it: `[1, positions, features]`."""
        rows = self._checkpoint.tensor(table.name, table.shape)[offset:]
        if added is not None:
            rows = rows + self._checkpoint.tensor(added.name, added.shape)[0]
        shape = self._graph.joined(1, self._graph.dimension(like, 1), rows.shape[1])
        return self._graph.slice(self._graph.constant(rows[None]), (0, 0, 0), shape)

    def add_layer_norm(self, x: Any, residual: Any, weight: Weight, bias: Weight, epsilon: float) -> Any:
        """Normalisation of the sum over features."""
        total = self._graph.binary("SUM", x, residual)
        parts = (total, self._row(weight), self._row(bias), 1 << 2)
        return self._graph.layer("add_normalization_v2", *parts, epsilon=epsilon)

    def attend(self, qkv: Any, heads: int) -> Any:
        """TensorRT's attention without a mask."""
        return self._attention.plain(qkv, heads)

    def gelu(self, x: Any) -> Any:
        """The exact one."""
        return self._graph.activate("GELU_ERF", x)

    def mean(self, x: Any) -> Any:
        """Our plugin, which also scales to length 1: float32 `[rows, features]`. All positions count."""
        counted = self._graph.cast(self._graph.binary("EQUAL", self.tokens, self.tokens), "i32")
        return self._graph.plugin(pool.MEAN_POOL_L2, pool.constants(x.shape[2]), x, counted)[0]

    def first(self, x: Any) -> Any:
        """Gather of position 0: float32 `[rows, features]`."""
        chosen = self._graph.layer("add_gather", x, self._graph.integers([0]), 1)
        return self._graph.cast(self._graph.reshape(chosen, [-1, x.shape[2]]), "fp32")

    def unit_length(self, x: Any) -> Any:
        """Division by the root of the sum of squares, in float32."""
        graph = self._graph
        length = graph.unary("SQRT", graph.reduce("SUM", graph.binary("PROD", x, x), axis=1))
        return graph.binary("DIV", x, length)

    def _row(self, weight: Weight) -> Any:
        return self._graph.constant(self._read(weight).reshape(1, 1, -1))

    def _constant(self, weight: Weight) -> Any:
        return self._graph.constant(self._read(weight))

    def _read(self, weight: Weight) -> NDArray[np.float32]:
        return self._checkpoint.tensor(weight.name, weight.shape)
