"""Tokens a second of the direct emitter on random weights, beside transformers and what bandwidth allows."""

import importlib.util
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.direct_emitter import Packed, emit_pass, empty_memory
from benchmarks.gpu_cases import Target
from benchmarks.gpu_timing import captured, step_seconds
from kernels.launch import TORCH_TYPES
from kernels.specimens import GROUP
from kernels.w4a16_gemv.plugin import MOST_ROWS
from services.executor.models.decoder import DecoderShape
from services.executor.models.emitter import CachedAttention
from services.executor.models.rotary import Rotary

HELD = 1024
ITEM_BYTES = 2
FOUR_BITS, COMPILED = "direct emitter, 4 bits", "transformers, compiled"
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


def weight_sizes(shape: DecoderShape) -> dict[str, tuple[int, ...]]:
    """By checkpoint name."""
    attention = shape.attention
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
    return sizes


def random_weights(shape: DecoderShape, activation: str, device: str, packed: bool = False) -> dict[str, Any]:
    """By checkpoint name, small enough that nothing overflows; linear layers in 4 bits where `packed`."""
    kind = TORCH_TYPES[activation]

    def of_four_bits(out: int, features: int) -> Packed:
        scales = torch.full((out, features // GROUP), 0.004, dtype=kind, device=device)
        return Packed(torch.randint(-128, 128, (out, features // 2), dtype=torch.int8, device=device), scales)

    return {
        name: of_four_bits(*size) if packed and _linear(name) else torch.randn(size, dtype=kind, device=device) * 0.02
        for name, size in weight_sizes(shape).items()
    }


def step_bytes(shape: DecoderShape, rows: int, held: int, packed: bool = False) -> float:
    """What one decode step must read in 16 bits: every weight once (the tied table as the head), each row's memory;
    linear layers in 4 bits with their scales where `packed`."""
    attention = shape.attention
    memory = 2 * shape.layers * rows * held * attention.kv_heads * attention.head_dim
    stored = {name: math.prod(size) for name, size in weight_sizes(shape).items()}
    smaller = sum(size for name, size in stored.items() if packed and _linear(name))
    return ITEM_BYTES * (sum(stored.values()) + memory) - smaller * (ITEM_BYTES - 0.5 - ITEM_BYTES / GROUP)


def _linear(name: str) -> bool:
    return "_proj." in name


def add_to(add: Callable[..., None], name: str, target: Target, bandwidth: float) -> None:
    """Adds tokens a second of a decoder at each batch, ours and transformers'; and of one row, that compiled."""
    shape = shape_of(name)
    compiled = partial(transformers_rate, compiled=True)
    beside = {"transformers": partial(transformers_rate, compiled=False), COMPILED: compiled}
    ways: dict[str, Any] = {"direct emitter": direct_rate, FOUR_BITS: partial(direct_rate, packed=True)} | (
        beside if importlib.util.find_spec("transformers") else {}
    )
    for rows in BATCHES:
        for way, rate in ways.items():
            if (way == FOUR_BITS and rows > MOST_ROWS) or (way == COMPILED and rows > 1):
                continue

            def measure(way: str = way, rate: Any = rate, rows: int = rows) -> dict[str, Any]:
                torch.cuda.empty_cache()
                found = rate(shape, rows, target)
                share = found * step_bytes(shape, rows, HELD, way == FOUR_BITS) / (rows * bandwidth)
                return {"shape": name, "rows": rows, "way": way, "tokens_per_s": found, "share_of_bound": share}

            add("decode", f"{name}, {rows} rows, {way}", measure)


def direct_rate(shape: DecoderShape, rows: int, target: Target, packed: bool = False) -> float:
    """Tokens a second of all rows, out of a CUDA graph."""
    weights = random_weights(shape, target.activation, target.device, packed)
    memory = empty_memory(shape, rows, target.activation, target.device)
    memory.starts.fill_(HELD)
    tokens = torch.zeros((rows, 1), dtype=torch.int64, device=target.device)
    if not emit_pass(weights, shape, tokens, memory, target.activation, target.architecture).isfinite().all():
        raise ValueError("logits: got some that are not finite, expected none")
    step = captured(lambda: emit_pass(weights, shape, tokens, memory, target.activation, target.architecture))
    return rows * STEPS / step_seconds(step, STEPS)


def transformers_rate(shape: DecoderShape, rows: int, target: Target, compiled: bool) -> float:
    """The same of transformers with its static cache: as it is, or compiled into CUDA graphs as its guide says."""
    with torch.no_grad():
        return rows * STEPS / step_seconds(transformers_step(shape, rows, target.device, HELD, compiled), STEPS)


def compile_transformers(name: str) -> None:
    """Fills torch's cache on disk with what `transformers_rate` compiles, in a process of its own."""
    if importlib.util.find_spec("transformers"):
        with torch.no_grad():
            transformers_step(shape_of(name), 1, "cuda", HELD, compiled=True)()


def transformers_step(shape: DecoderShape, rows: int, device: str, held: int, compiled: bool) -> Callable[[], Any]:
    """One token a row. Its cache has `held` places, all of which a step reads, and is full after 2 STEPS steps."""
    from transformers import AutoModelForCausalLM, LlamaConfig, StaticCache

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
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()
    cache = StaticCache(config=config, max_cache_len=held)
    ids = torch.zeros((rows, held - 2 * STEPS), dtype=torch.int64, device=device)
    model(ids, past_key_values=cache, logits_to_keep=1)
    one = ids[:, :1].clone()
    step = torch.compile(model, mode="reduce-overhead", fullgraph=True) if compiled else model
    return lambda: step(one, past_key_values=cache)
