"""Tokens a second of the direct emitter on random weights, beside transformers and what bandwidth allows."""

from typing import Any

import numpy as np
import torch

from benchmarks.direct_emitter import emit_pass, empty_memory
from kernels.launch import TORCH_TYPES
from services.executor.models.decoder import DecoderShape
from services.executor.models.emitter import CachedAttention
from services.executor.models.rotary import Rotary

HELD = 1024
STEPS = 50
BATCHES = (1, 8, 64)
SHAPES = {
    "1B": {"layers": 16, "hidden": 2048, "intermediate": 8192, "heads": 32, "kv_heads": 8, "head_dim": 64},
    "8B": {"layers": 32, "hidden": 4096, "intermediate": 14336, "heads": 32, "kv_heads": 8, "head_dim": 128},
}


def shape_of(name: str) -> DecoderShape:
    """The Llama 3 shape of that size, with room for what is measured."""
    sizes = SHAPES[name]
    frequencies = 500_000.0 ** (-np.arange(0, sizes["head_dim"], 2) / sizes["head_dim"])
    return DecoderShape(
        layers=sizes["layers"],
        hidden=sizes["hidden"],
        intermediate=sizes["intermediate"],
        vocabulary=128256,
        norm_epsilon=1e-5,
        attention=CachedAttention(
            sizes["heads"], sizes["kv_heads"], sizes["head_dim"], Rotary(tuple(frequencies.tolist())), 2 * HELD
        ),
        windows=(None,) * sizes["layers"],
        input_bias=False,
        output_bias=False,
        normed_heads=False,
        tied_embeddings=True,
    )


def random_weights(shape: DecoderShape, activation: str, device: str) -> dict[str, Any]:
    """By checkpoint name, small enough that nothing overflows."""
    kind, attention = TORCH_TYPES[activation], shape.attention
    queries, keys = (count * attention.head_dim for count in (attention.heads, attention.kv_heads))
    sizes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (shape.vocabulary, shape.hidden)}
    sizes["model.norm.weight"] = (shape.hidden,)
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}"
        for name in ("input_layernorm", "post_attention_layernorm"):
            sizes[f"{prefix}.{name}.weight"] = (shape.hidden,)
        for name, width in (("q_proj", queries), ("k_proj", keys), ("v_proj", keys)):
            sizes[f"{prefix}.self_attn.{name}.weight"] = (width, shape.hidden)
        sizes[f"{prefix}.self_attn.o_proj.weight"] = (shape.hidden, queries)
        for name in ("gate_proj", "up_proj"):
            sizes[f"{prefix}.mlp.{name}.weight"] = (shape.intermediate, shape.hidden)
        sizes[f"{prefix}.mlp.down_proj.weight"] = (shape.hidden, shape.intermediate)
    return {name: torch.randn(size, dtype=kind, device=device) * 0.02 for name, size in sizes.items()}


def step_bytes(weights: dict[str, Any], shape: DecoderShape, rows: int, held: int) -> int:
    """What one decode step must read: every weight once (the tied table as the head), and each row's memory."""
    item = next(iter(weights.values())).element_size()
    attention = shape.attention
    memory = 2 * shape.layers * rows * held * attention.kv_heads * attention.head_dim
    stored: int = sum(weight.numel() for weight in weights.values())
    return int(item) * (stored + memory)


def direct_rate(shape: DecoderShape, rows: int, architecture: int) -> tuple[float, int]:
    """Tokens a second of all rows, out of a CUDA graph, and the bytes that a step must read."""
    weights = random_weights(shape, "bf16", "cuda")
    moved = step_bytes(weights, shape, rows, HELD)
    memory = empty_memory(shape, rows, "bf16", "cuda")
    memory.starts.fill_(HELD)
    tokens = torch.zeros((rows, 1), dtype=torch.int64, device="cuda")
    with torch.no_grad():
        for _ in range(3):  # compiles, tunes and stacks before the graph is captured
            emit_pass(weights, shape, tokens, memory, "bf16", architecture)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            emit_pass(weights, shape, tokens, memory, "bf16", architecture)
        return rows * STEPS / _seconds(graph.replay), moved


def transformers_rate(shape: DecoderShape, rows: int) -> float:
    """The same of transformers with its static cache, as it is."""
    from transformers import LlamaConfig, LlamaForCausalLM, StaticCache

    attention = shape.attention
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=attention.heads,
        num_key_value_heads=attention.kv_heads,
        head_dim=attention.head_dim,
        tie_word_embeddings=True,
        max_position_embeddings=attention.max_positions,
    )
    with torch.device("cuda"):
        model = LlamaForCausalLM(config).to(torch.bfloat16).eval()
    cache = StaticCache(config=config, max_cache_len=attention.max_positions)
    ids = torch.zeros((rows, HELD), dtype=torch.int64, device="cuda")
    place = torch.arange(HELD, device="cuda")
    with torch.no_grad():
        model(ids, past_key_values=cache, cache_position=place, logits_to_keep=1)
        one, last = ids[:, :1], place[-1:] + 1
        return rows * STEPS / _seconds(lambda: model(one, past_key_values=cache, cache_position=last))


def _seconds(step: Any) -> float:
    """Of STEPS steps, after as many to warm up."""
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    for event in (begin, end):
        for _ in range(STEPS):
            step()
        event.record()
    torch.cuda.synchronize()
    return float(begin.elapsed_time(end)) / 1000
