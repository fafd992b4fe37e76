"""Attention in a TensorRT network: our split kernel where a row has one token, TensorRT's own where it has more."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.gqa_decode_attention import plugin as decode
from kernels.rope_kv_append import plugin as rope
from kernels.tuning import configuration
from services.executor.models.emitter import CachedAttention, Weight
from services.executor.models.tensorrt_graph import TensorRtGraph

STARTS, NEW_LENGTHS, TABLE, KEY_POSITIONS = "starts", "new_lengths", "table", "key_positions"


class Branch(NamedTuple):
    """What both ways of attending take: turned queries, memory with the new tokens, and each row's place in it."""

    queries: Any
    keys: Any
    values: Any
    starts: Any
    new: Any
    table: Any
    span: Any


def memory_names(layers: int) -> list[tuple[str, str]]:
    """Input and output name of each buffer `[slots, kv_heads, max_positions, head_dim]`: keys then values, by layer."""
    return [(f"{kind}_{layer}", f"{kind}_{layer}_out") for layer in range(layers) for kind in ("keys", "values")]


class TensorRtAttention:
    """Adds attention to `graph`, over memory of `slots` rows; `read` gives weights."""

    def __init__(self, graph: TensorRtGraph, slots: int, read: Callable[[Weight], NDArray[np.float32]]) -> None:
        self._graph = graph
        self._read = read
        self._slots = slots
        self._rotary: tuple[Any, Any] | None = None

    def cached(self, qkv: Any, layer: int, attention: CachedAttention) -> Any:
        """RoPE + append in place, then one of the two ways."""
        graph = self._graph
        buffer = [self._slots, attention.kv_heads, attention.max_positions, attention.head_dim]
        names = memory_names(layer + 1)[-2:]
        memory = [graph.input(name, graph.activation, buffer) for name, _ in names]
        starts, new = graph.input(STARTS, "i32", [-1]), graph.input(NEW_LENGTHS, "i32", [-1])
        table = graph.input(TABLE, "i32", [-1, 1])
        if self._rotary is None:
            cosine, sine = attention.rotary.tables(attention.max_positions)
            self._rotary = graph.constant(cosine, "fp32"), graph.constant(sine, "fp32")
        fixed = rope.constants(attention.heads, attention.kv_heads, attention.head_dim, attention.max_positions)
        parts = (self._normed(qkv, attention), starts, new, table, *self._rotary, *memory)
        queries, keys, values = graph.plugin(rope.ROPE_KV_APPEND, fixed, *parts)
        for (_, name), value in zip(names, (keys, values), strict=True):
            graph.output(value, name)
        branch = graph.condition(graph.dimension(qkv, 1), 1)
        taken = Branch(queries, keys, values, starts, new, table, graph.input(KEY_POSITIONS, "i32", [-1]))
        inside = Branch(*(branch.add_input(value).get_output(0) for value in taken))
        return branch.add_output(self._one(inside, attention), self._many(inside, attention)).get_output(0)

    def plain(self, qkv: Any, heads: int) -> Any:
        """Every position attends to every position of its row."""
        features = qkv.shape[2] // 3
        parts = [self._graph.columns(qkv, place * features, features) for place in range(3)]
        queries, keys, values = (self._graph.by_head(part, heads, features // heads) for part in parts)
        return self._softmax(queries, keys, values, parts[0], features // heads, None)

    def _one(self, given: Branch, attention: CachedAttention) -> Any:
        """Our split kernel, then its reduction."""
        graph, size = self._graph, attention.heads * attention.head_dim
        flat = graph.reshape(given.queries, [-1, size])
        sizes = (attention.heads, attention.kv_heads, attention.head_dim, attention.max_positions)
        splits = configuration(decode.GQA_DECODE_SPLIT, graph.architecture).constants["SPLITS"]
        parts = (flat, given.keys, given.values, given.table, graph.binary("SUM", given.starts, given.new))
        fixed = decode.split_constants(*sizes, window=attention.window)
        shares = graph.plugin(decode.GQA_DECODE_SPLIT, fixed, *parts)
        joined = decode.reduce_constants(attention.heads, attention.head_dim, splits)
        (attended,) = graph.plugin(decode.GQA_DECODE_REDUCE, joined, *shares, flat)
        return graph.reshape_to(attended, graph.shape_of(given.queries))

    def _many(self, given: Branch, attention: CachedAttention) -> Any:
        """Over the rows' slots up to the longest end; a position sees what is not behind it."""
        graph, size = self._graph, attention.head_dim
        rows, positions = graph.places(given.queries)
        shape = graph.joined(rows, attention.kv_heads, graph.dimension(given.span, 0), size)
        slots = graph.reshape(given.table, [-1])
        keys, values = (
            graph.slice(graph.layer("add_gather", part, slots, 0), (0, 0, 0, 0), shape)
            for part in (given.keys, given.values)
        )
        across = graph.reshape(given.span, [1, 1, 1, -1])
        place = graph.slice(graph.reshape(given.span, [1, 1, -1, 1]), (0, 0, 0, 0), graph.joined(1, 1, positions, 1))
        own = graph.binary("SUM", graph.reshape(given.starts, [-1, 1, 1, 1]), place)
        seen = graph.unary("NOT", graph.binary("GREATER", across, own))
        if attention.window is not None:
            first = graph.binary("SUB", own, graph.constant(np.full((1, 1, 1, 1), attention.window), "i32"))
            seen = graph.binary("AND", seen, graph.binary("GREATER", across, first))
        queries = graph.by_head(given.queries, attention.heads, size)
        return self._softmax(queries, keys, values, given.queries, size, seen)

    def _normed(self, qkv: Any, attention: CachedAttention) -> Any:
        """Queries and keys with each head's norm, where there is one, beside the values."""
        norms, size = attention.norms, attention.head_dim
        if norms is None:
            return qkv
        queries, keys = attention.heads * size, attention.kv_heads * size
        parts = []
        for start, width, weight in ((0, queries, norms.queries), (queries, keys, norms.keys)):
            part = self._graph.columns(qkv, start, width)
            heads = self._graph.reshape_to(part, self._graph.joined(*self._graph.places(part), width // size, size))
            normed = self._graph.rms_norm(heads, self._read(weight), norms.epsilon)
            parts.append(self._graph.reshape_to(normed, self._graph.shape_of(part)))
        values = self._graph.columns(qkv, queries + keys, keys)
        return self._graph.layer("add_concatenation", [*parts, values], axis=2)

    def _softmax(self, queries: Any, keys: Any, values: Any, like: Any, size: int, mask: Any) -> Any:
        """TensorRT's attention, which leaves it to us to scale; the mask is true where one sees."""
        graph, trt = self._graph, self._graph.trt
        scale = graph.constant(np.full((1, 1, 1, 1), 1 / math.sqrt(size)))
        scaled = graph.binary("PROD", queries, scale)
        kinds = (trt.AttentionNormalizationOp.SOFTMAX, trt.CausalMaskKind.NONE)
        masked = {} if mask is None else {"mask": mask}
        attended = graph.layer("add_attention_v2", scaled, keys, values, *kinds, decomposable=True, **masked)
        return graph.reshape_to(graph.transpose(attended, (0, 2, 1, 3)), graph.shape_of(like))
