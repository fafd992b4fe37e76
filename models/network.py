"""The Llama shape in torch, written for training speed: fused projections, parted into Hugging Face names on export."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Shape:
    """Dimensions of one model; `heads` x `head_dim` may differ from `hidden`."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int = 264
    context: int = 512
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-5


class Layer(nn.Module):
    """One pre-norm decoder layer; weights are `[out, in]`."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.widths = [shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim, shape.kv_heads * shape.head_dim]
        self.attention_norm = nn.Parameter(torch.ones(shape.hidden))
        self.mlp_norm = nn.Parameter(torch.ones(shape.hidden))
        self.qkv = nn.Linear(shape.hidden, sum(self.widths), bias=False)
        self.out = nn.Linear(self.widths[0], shape.hidden, bias=False)
        self.gate_up = nn.Linear(shape.hidden, 2 * shape.intermediate, bias=False)
        self.down = nn.Linear(shape.intermediate, shape.hidden, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, wanted: Tensor | None = None) -> Tensor:
        """`[batch, length, hidden]` to the same, or to `[n, hidden]` for the positions that alone are `wanted`."""
        s = self.shape
        q, k, v = self.qkv(F.rms_norm(x, (s.hidden,), self.attention_norm, s.norm_eps)).split(self.widths, dim=-1)
        q, k, v = (part.unflatten(-1, (-1, s.head_dim)).transpose(1, 2) for part in (q, k, v))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        repeats = s.heads // s.kv_heads
        k, v = k.repeat_interleave(repeats, dim=1), v.repeat_interleave(repeats, dim=1)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        if wanted is not None:
            x, mixed = x[wanted], mixed[wanted]
        x = x + self.out(mixed)
        gate, up = self.gate_up(F.rms_norm(x, (s.hidden,), self.mlp_norm, s.norm_eps)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """RoPE in the half-split layout of Hugging Face Llama; `x` is `[batch, heads, length, head_dim]`."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


class Network(nn.Module):
    """Token ids `[batch, length]` to logits; the head is the embedding."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.hidden)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = nn.Parameter(torch.ones(shape.hidden))
        self.apply(self._initialise)

    def _initialise(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, Layer):
            nn.init.zeros_(module.out.weight)
            nn.init.zeros_(module.down.weight)

    def forward(self, ids: Tensor, wanted: Tensor) -> Tensor:
        """Logits `[n, vocabulary]` at the positions where `wanted` (boolean, shaped as `ids`) holds."""
        s = self.shape
        frequencies = s.rope_theta ** (-torch.arange(0, s.head_dim, 2) / s.head_dim)
        angles = torch.outer(torch.arange(ids.shape[1]), frequencies)
        cos, sin = angles.cos(), angles.sin()
        x = self.embedding(ids)
        for layer in self.layers[:-1]:
            x = layer(x, cos, sin)
        x = self.layers[-1](x, cos, sin, wanted)
        x = F.rms_norm(x, (s.hidden,), self.norm, s.norm_eps)
        return x @ self.embedding.weight.T


def hugging_face_weights(network: Network) -> dict[str, Tensor]:
    """The weights under the names transformers' LlamaForCausalLM uses, float16."""
    weights = {"model.embed_tokens.weight": network.embedding.weight, "model.norm.weight": network.norm}
    for index, layer in enumerate(network.layers):
        prefix = f"model.layers.{index}"
        query, key, value = layer.qkv.weight.split(layer.widths)
        gate, up = layer.gate_up.weight.chunk(2)
        weights |= {
            f"{prefix}.input_layernorm.weight": layer.attention_norm,
            f"{prefix}.post_attention_layernorm.weight": layer.mlp_norm,
            f"{prefix}.self_attn.q_proj.weight": query,
            f"{prefix}.self_attn.k_proj.weight": key,
            f"{prefix}.self_attn.v_proj.weight": value,
            f"{prefix}.self_attn.o_proj.weight": layer.out.weight,
            f"{prefix}.mlp.gate_proj.weight": gate,
            f"{prefix}.mlp.up_proj.weight": up,
            f"{prefix}.mlp.down_proj.weight": layer.down.weight,
        }
    return {name: weight.detach().to(torch.float16).contiguous() for name, weight in weights.items()}
