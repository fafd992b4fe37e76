"""The decoder on our kernels and torch's products: proves and measures the kernels inside a whole model, serves nobody.

The NumPy emitter's twin: the same definition, on a GPU or in Triton's interpreter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import triton

from benchmarks.swiglu_kernel import BLOCK, swiglu
from kernels.add_rms_norm import plugin as norm
from kernels.contract import Constants, Contract
from kernels.gqa_decode_attention import plugin as decode
from kernels.launch import TORCH_TYPES, launch
from kernels.rope_kv_append import plugin as rope
from kernels.specimens import specimen
from kernels.w4a16_gemv import plugin as gemv
from services.executor.models.decoder import DecoderShape, emit_decoder
from services.executor.models.emitter import CachedAttention, HeadNorms, Weight


class Packed(NamedTuple):
    """Weights of 4 bits `[out, in / 2]` and scales `[out, groups]`, as `kernels.w4a16_gemv` has them, for few rows."""

    packed: Any
    scales: Any


@dataclass
class DirectMemory:
    """Keys and values `[slots, kv_heads, max_positions, head_dim]` by layer, and what each row of a pass needs.

    `cosine` and `sine` are of all positions, on the device: a pass copies nothing from the host, so that it can be
    captured in a CUDA graph.
    """

    keys: Sequence[Any]
    values: Sequence[Any]
    starts: Any
    new_lengths: Any
    table: Any
    cosine: Any
    sine: Any


def empty_memory(shape: DecoderShape, slots: int, activation: str, device: str) -> DirectMemory:
    """Row i of a pass lies in slot i."""
    attention, kind = shape.attention, TORCH_TYPES[activation]
    buffer = (slots, attention.kv_heads, attention.max_positions, attention.head_dim)
    keys, values = ([torch.zeros(buffer, dtype=kind, device=device) for _ in range(shape.layers)] for _ in range(2))
    starts = torch.zeros(slots, dtype=torch.int32, device=device)
    table = torch.arange(slots, dtype=torch.int32, device=device)[:, None]
    cosine, sine = (torch.from_numpy(one).to(device) for one in attention.rotary.tables(attention.max_positions))
    return DirectMemory(keys, values, starts, torch.ones_like(starts), table, cosine, sine)


class DirectEmitter:
    """Evaluates a definition on `tokens` `[rows, positions]`; rows are equally long.

    Args:
        weights: by name, on the device, in the activations' type or, of linear layers, `Packed`; those that lie side by
            side are joined in it.
        tokens: ids.
        memory: what the rows have seen; the caller adds the positions to `starts` after a pass.
        activation: "bf16", "fp16" or "fp32".
        architecture: whose tuned configurations are used.
    """

    def __init__(
        self, weights: dict[str, Any], tokens: Any, memory: DirectMemory, activation: str, architecture: int
    ) -> None:
        self._weights = weights
        self._memory = memory
        self._activation = activation
        self._architecture = architecture
        self.tokens: Any = tokens
        positions = tokens.shape[1]
        place = torch.arange(1, positions + 1, dtype=torch.int32, device=tokens.device)
        self._lengths = (memory.starts[:, None] + place[None, :]).reshape(-1)
        self._table = memory.table.repeat_interleave(positions, 0) if positions > 1 else memory.table

    def embed(self, ids: Any, table: Weight) -> Any:
        """Indexing."""
        return torch.nn.functional.embedding(ids, self._weights[table.name])

    def linear(self, x: Any, weights: Sequence[Weight], biases: Sequence[Weight] = ()) -> Any:
        """Torch's product of the stacked weights, or our kernel's of those of 4 bits."""
        bias, stacked = self._stacked(biases) if biases else None, self._stacked(weights)
        if not isinstance(stacked, Packed):
            return torch.nn.functional.linear(x, stacked, bias)
        features = x.shape[-1]
        if x.numel() > gemv.MOST_ROWS * features:
            raise ValueError(f"rows: got {x.numel() // features}, expected at most {gemv.MOST_ROWS} with 4-bit weights")
        fixed = gemv.constants(features, len(stacked.packed), features // stacked.scales.shape[1])
        inputs = {"x": x.reshape(-1, features), "packed": stacked.packed, "scales": stacked.scales}
        product = self._launch(gemv.W4A16_GEMV, fixed, inputs)[0].view(*x.shape[:-1], -1)
        return product if bias is None else product + bias

    def rms_norm(self, x: Any, weight: Weight, epsilon: float) -> Any:
        """Torch's."""
        return torch.nn.functional.rms_norm(x, weight.shape, self._weights[weight.name], epsilon)

    def add_rms_norm(self, x: Any, residual: Any, weight: Weight, epsilon: float) -> tuple[Any, Any]:
        """Our kernel."""
        features = weight.shape[0]
        inputs = {"x": x.reshape(-1, features), "residual": residual.reshape(-1, features)}
        inputs["weight"] = self._weights[weight.name]
        normed, total = self._launch(norm.ADD_RMS_NORM, norm.constants(features, epsilon), inputs)
        return normed.view(x.shape), total.view(x.shape)

    def attend_cached(self, qkv: Any, layer: int, attention: CachedAttention) -> Any:
        """Our kernels; where a row has several positions, each is a row of its own for the split kernel."""
        memory = self._memory
        sizes = (attention.heads, attention.kv_heads, attention.head_dim, attention.max_positions)
        if attention.norms is not None:
            qkv = self._normed(qkv, attention.norms, attention)
        inputs = {"qkv": qkv, "starts": memory.starts, "new_lengths": memory.new_lengths, "table": memory.table}
        inputs |= {"cosine": memory.cosine, "sine": memory.sine}
        inputs |= {"keys": memory.keys[layer], "values": memory.values[layer]}
        queries, keys, values = self._launch(rope.ROPE_KV_APPEND, rope.constants(*sizes), inputs)
        flat = queries.view(-1, queries.shape[2])
        asked = {"queries": flat, "keys": keys, "values": values, "table": self._table, "lengths": self._lengths}
        partial, statistics = self._launch(
            decode.GQA_DECODE_SPLIT, decode.split_constants(*sizes, window=attention.window), asked
        )
        joined = decode.reduce_constants(attention.heads, attention.head_dim, partial.shape[2])
        shares = {"partial": partial, "statistics": statistics, "like": flat}
        (attended,) = self._launch(decode.GQA_DECODE_REDUCE, joined, shares)
        return attended.view(queries.shape)

    def _normed(self, qkv: Any, norms: HeadNorms, attention: CachedAttention) -> Any:
        heads = qkv.view(*qkv.shape[:2], -1, attention.head_dim).clone()
        ends = (attention.heads, attention.heads + attention.kv_heads)
        for start, end, weight in ((0, ends[0], norms.queries), (*ends, norms.keys)):
            heads[:, :, start:end] = self.rms_norm(heads[:, :, start:end], weight, norms.epsilon)
        return heads.view(qkv.shape)

    def swiglu(self, x: Any, gate: Weight, up: Weight) -> Any:
        """One product of both weights, and a kernel for the rest, of which torch makes two."""
        both, width = self.linear(x, [gate, up]), gate.shape[0]
        gated = both.new_empty((*both.shape[:-1], width))
        swiglu[(gated.numel() // width, triton.cdiv(width, BLOCK))](both, gated, width, BLOCK)
        return gated

    def last_position(self, x: Any) -> Any:
        """A slice."""
        return x[:, -1]

    def _launch(self, contract: Contract, constants: Constants, inputs: Mapping[str, Any]) -> Sequence[Any]:
        chosen = specimen(contract, constants, self._activation, self._architecture)
        options = {"num_warps": chosen.configuration.num_warps, "num_stages": chosen.configuration.num_stages}
        return launch(contract, inputs, chosen.constants, self._activation, options)

    def _stacked(self, parts: Sequence[Weight]) -> Any:
        """Side by side; done at the first pass, after which the parts are forgotten."""
        name = "+".join(part.name for part in parts)
        if name not in self._weights:
            found = [self._weights.pop(part.name) for part in parts]
            packed = isinstance(found[0], Packed)
            self._weights[name] = Packed(*map(torch.cat, zip(*found, strict=True))) if packed else torch.cat(found)
        return self._weights[name]


def emit_pass(
    weights: dict[str, Any],
    shape: DecoderShape,
    tokens: Any,
    memory: DirectMemory,
    activation: str,
    architecture: int,
) -> Any:
    """Logits `[rows, vocabulary]`; `new_lengths` is set, `starts` is the caller's to advance."""
    memory.new_lengths.fill_(tokens.shape[1])
    return emit_decoder(DirectEmitter(weights, tokens, memory, activation, architecture), shape)
