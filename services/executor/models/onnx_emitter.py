"""Writes a model definition as an ONNX graph of ONNX Runtime's fused operators."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from services.executor.models.checkpoint import Checkpoint
from services.executor.models.decoder import DecoderShape, emit_decoder
from services.executor.models.emitter import CachedAttention, HeadNorms, Weight
from services.executor.models.encoder import EncoderShape, emit_encoder
from services.executor.models.onnx_graph import CONTRIB, GraphBuilder, OnnxGraph
from services.executor.models.onnx_linear import Linear

TOKENS, NEW_LENGTHS, LAST_POSITIONS = "tokens", "new_lengths", "last_positions"
PLACES, ORIGINS, ENDS = "places", "origins", "ends"
LOGITS, EMBEDDINGS = "logits", "embeddings"


def decoder_graph(
    checkpoint: Checkpoint, shape: DecoderShape, linear: Linear, ragged: bool = True, kind: Any = np.float32
) -> OnnxGraph:
    """A pass over chunks of any length of many rows: packed, so that padding costs no product, but for attention.

    Inputs: `tokens` int64 `[tokens]`, the chunks one behind the other; `places` int64 `[rows, positions]`, which of
    these stands where when each chunk is a row, right-padded with any; `origins` int64 `[tokens]`, the way back: where
    among `rows * positions` each token stands; `new_lengths` int32 `[rows]`, the valid positions, 0 for an idle row;
    `last_positions` int32 `[rows]`, where in memory the last of these comes to lie, 0 where idle; and `ends` int64
    `[ends]`, the tokens behind which logits are wanted. `memory_names` gives the memory's inputs and outputs, to be
    bound to the same buffers. Output: `logits` float32 `[ends, vocabulary]`.

    Without `ragged`, as on GPUs, all rows of a pass must be equally long; `kind` is the type of activations and memory.
    """
    emitter = OnnxEmitter(checkpoint, linear, ["tokens"], ragged, kind)
    for name, dtype, sizes in (
        (PLACES, np.int64, ["rows", "positions"]),
        (ORIGINS, np.int64, ["tokens"]),
        (LAST_POSITIONS, np.int32, ["rows"]),
        (ENDS, np.int64, ["ends"]),
    ):
        emitter.graph.input(name, dtype, sizes)
    if ragged:
        emitter.graph.input(NEW_LENGTHS, np.int32, ["rows"])
    logits = emit_decoder(emitter, shape)
    if kind != np.float32:
        logits = emitter.graph.node("Cast", [logits], to=onnx.TensorProto.FLOAT)
    emitter.graph.output(logits, LOGITS, np.float32, ["ends", shape.vocabulary])
    return emitter.graph.finish()


def encoder_graph(checkpoint: Checkpoint, shape: EncoderShape, linear: Linear) -> OnnxGraph:
    """Input: `tokens` int64 `[rows, positions]`, none padded. Output: `embeddings` float32 `[rows, hidden]`."""
    emitter = OnnxEmitter(checkpoint, linear, ["rows", "positions"])
    emitter.graph.output(emit_encoder(emitter, shape), EMBEDDINGS, np.float32, ["rows", shape.hidden])
    return emitter.graph.finish()


def memory_names(layers: int) -> list[tuple[str, str]]:
    """Input and output name of each buffer `[rows, kv_heads, max_positions, head_dim]`: keys then values, by layer."""
    return [(f"{kind}_{layer}", f"{kind}_{layer}_out") for layer in range(layers) for kind in ("keys", "values")]


class OnnxEmitter:
    """Adds each operator to `graph`; a value is the name of an edge."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        linear: Linear,
        token_shape: Sequence[str],
        ragged: bool = True,
        kind: Any = np.float32,
    ) -> None:
        self.graph = GraphBuilder()
        self.tokens = self.graph.input(TOKENS, np.int64, token_shape)
        self._checkpoint = checkpoint
        self._linear = linear
        self._ragged = ragged
        self._kind = kind

    def embed(self, ids: str, table: Weight) -> str:
        """Gather."""
        return self.graph.node("Gather", [self._constant(table), ids])

    def linear(self, x: str, weights: Sequence[Weight], biases: Sequence[Weight] = ()) -> str:
        """Whatever the chosen `Linear` adds for the stacked weights."""
        weight = _stack([self._read(part) for part in weights])
        bias = _stack([self._read(part) for part in biases]) if biases else None
        return self._linear(self.graph, x, weight, bias)

    def rms_norm(self, x: str, weight: Weight, epsilon: float) -> str:
        """SimplifiedLayerNormalization."""
        inputs = [x, self._constant(weight)]
        return self.graph.node("SimplifiedLayerNormalization", inputs, axis=-1, epsilon=epsilon)

    def add_rms_norm(self, x: str, residual: str, weight: Weight, epsilon: float) -> tuple[str, str]:
        """SkipSimplifiedLayerNormalization."""
        normed, total = f"{weight.name}.normed", f"{weight.name}.sum"
        inputs = [x, residual, self._constant(weight)]
        operator = "SkipSimplifiedLayerNormalization"
        self.graph.nodes(operator, inputs, [normed, "", "", total], CONTRIB, epsilon=epsilon)
        return normed, total

    def attend_cached(self, qkv: str, layer: int, attention: CachedAttention) -> str:
        """GroupQueryAttention over chunks as rows; it writes memory in place where both names share a buffer."""
        buffer: list[int | str] = ["rows", attention.kv_heads, attention.max_positions, attention.head_dim]
        keys, values = memory_names(layer + 1)[-2:]
        for name, _ in (keys, values):
            self.graph.input(name, self._kind, buffer)
        # Scores are scaled by way of the tables, queries and keys alike: products of a single query without a factor
        # take a kernel that does not pack the keys first.
        scale = np.float32(attention.head_dim**-0.25)
        cosine, sine = (scale * table for table in attention.rotary.tables(attention.max_positions))
        limit = self.graph.constant(np.array(attention.max_positions, np.int32), "memory limit")
        tables = [
            self.graph.constant(one.astype(self._kind), name) for one, name in ((cosine, "cosine"), (sine, "sine"))
        ]
        if attention.norms:
            qkv = self._norm_heads(qkv, attention, attention.norms)
        rows = self.graph.node("Gather", [qkv, PLACES])
        inputs = [rows, "", "", keys[0], values[0], LAST_POSITIONS, limit, *tables]
        if self._ragged:
            inputs += [*[""] * 7, NEW_LENGTHS]
        outputs = [f"attended_{layer}", keys[1], values[1]]
        sizes = {"num_heads": attention.heads, "kv_num_heads": attention.kv_heads}
        window = {"local_window_size": attention.window} if attention.window else {}
        self.graph.nodes("GroupQueryAttention", inputs, outputs, CONTRIB, do_rotary=1, scale=1.0, **sizes, **window)
        for _, name in (keys, values):
            self.graph.output(name, name, self._kind, buffer)
        flat = self.graph.constant(np.array([-1, attention.heads * attention.head_dim]), "attended")
        return self.graph.node("Gather", [self.graph.node("Reshape", [outputs[0], flat]), ORIGINS])

    def _norm_heads(self, qkv: str, attention: CachedAttention, norms: HeadNorms) -> str:
        """GroupQueryAttention's own norms are missing on CPUs: heads become rows, are normed, and are put back."""
        parts = [f"{qkv}.{part}" for part in ("queries", "keys", "values")]
        counts = [attention.heads, attention.kv_heads, attention.kv_heads]
        widths = np.array(counts) * attention.head_dim
        self.graph.nodes("Split", [qkv, self.graph.constant(widths, "head widths")], parts, axis=-1)
        single = self.graph.constant(np.array([-1, attention.head_dim]), "single heads")
        for index, weight in enumerate((norms.queries, norms.keys)):
            heads = self.rms_norm(self.graph.node("Reshape", [parts[index], single]), weight, norms.epsilon)
            side_by_side = self.graph.constant(np.array([-1, widths[index]]), f"side by side {index}")
            parts[index] = self.graph.node("Reshape", [heads, side_by_side])
        return self.graph.node("Concat", parts, axis=-1)

    def swiglu(self, x: str, gate: Weight, up: Weight) -> str:
        """Two products; QuickGelu of factor 1 is SiLU."""
        gated, linear = self.linear(x, [gate]), self.linear(x, [up])
        return self.graph.node("Mul", [self.graph.node("QuickGelu", [gated], CONTRIB, alpha=1.0), linear])

    def last_position(self, x: str) -> str:
        """Gather of the tokens whose logits are wanted."""
        return self.graph.node("Gather", [x, ENDS])

    def first_positions(self, like: str, table: Weight, offset: int, added: Weight | None) -> str:
        """The sum is made now; the graph slices it."""
        rows = self._checkpoint.tensor(table.name, table.shape)[offset:]
        if added is not None:
            rows = rows + self._checkpoint.tensor(added.name, added.shape)[0]
        end = self.graph.node("Shape", [like], start=1, end=2)
        start = self.graph.constant(np.array([0]), "start")
        return self.graph.node("Slice", [self.graph.constant(rows), start, end])

    def add_layer_norm(self, x: str, residual: str, weight: Weight, bias: Weight, epsilon: float) -> str:
        """SkipLayerNormalization."""
        inputs = [x, residual, self._constant(weight), self._constant(bias)]
        return self.graph.node("SkipLayerNormalization", inputs, CONTRIB, epsilon=epsilon)

    def attend(self, qkv: str, heads: int) -> str:
        """MultiHeadAttention without a mask."""
        parts = [f"{qkv}.{part}" for part in ("queries", "keys", "values")]
        self.graph.nodes("Split", [qkv], parts, axis=-1, num_outputs=3)
        return self.graph.node("MultiHeadAttention", parts, CONTRIB, num_heads=heads)

    def gelu(self, x: str) -> str:
        """The contributed Gelu, which is the exact one."""
        return self.graph.node("Gelu", [x], CONTRIB)

    def mean(self, x: str) -> str:
        """A product with ones: ReduceMean adds up in another order when there is but one row."""
        positions = self.graph.node("Shape", [x], start=1, end=2)
        one = self.graph.constant(np.array([1]), "one")
        ones = self.graph.node(
            "Expand",
            [self.graph.constant(np.ones((1, 1), np.float32)), self.graph.node("Concat", [one, positions], axis=0)],
        )
        total = self.graph.node("Squeeze", [self.graph.node("MatMul", [ones, x]), one])
        return self.graph.node("Div", [total, self.graph.node("Cast", [positions], to=onnx.TensorProto.FLOAT)])

    def first(self, x: str) -> str:
        """Gather of position 0."""
        return self.graph.node("Gather", [x, self.graph.constant(np.array(0))], axis=1)

    def unit_length(self, x: str) -> str:
        """LpNormalization, which takes each row by itself."""
        return self.graph.node("LpNormalization", [x], axis=-1, p=2)

    def _constant(self, weight: Weight) -> str:
        return self.graph.constant(self._read(weight), weight.name)

    def _read(self, weight: Weight) -> NDArray[Any]:
        return self._checkpoint.tensor(weight.name, weight.shape).astype(self._kind, copy=False)


def _stack(parts: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
