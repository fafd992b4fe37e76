"""What `benchmarks.gpu` measures of each kernel: inputs, the bytes it must move, and the same in plain torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from kernels.add_rms_norm import plugin as norm
from kernels.contract import Constants, Contract
from kernels.gqa_decode_attention import plugin as decode
from kernels.launch import TORCH_TYPES
from kernels.mean_pool_l2 import plugin as pool
from kernels.rope_kv_append import plugin as rope
from kernels.sample_top_k_top_p import plugin as sample
from kernels.similarity_top_k import plugin as similarity
from kernels.specimens import EPSILON
from kernels.tuning import configuration
from kernels.w4a16_gemv import plugin as gemv
from kernels.w4a16_gemv.reference import ZERO


@dataclass(frozen=True)
class Sizes:
    """Of an 8B decoder, of its batch, and of an encoder's batch and index."""

    heads: int = 32
    kv_heads: int = 8
    head_dim: int = 128
    hidden: int = 4096
    outputs: int = 14336
    group: int = 128
    vocabulary: int = 128256
    context: int = 8192
    held: int = 4096
    rows: int = 8
    norm_rows: int = 4096
    texts: int = 256
    positions: int = 128
    features: int = 384
    vectors: int = 1_000_000
    k: int = 10


@dataclass(frozen=True)
class Case:
    """One kernel at one shape.

    `plain` computes the first output in torch from the inputs; None where torch has nothing short that does.
    """

    contract: Contract
    constants: Constants
    inputs: Mapping[str, Any]
    moved_bytes: int
    least_share: float | None
    plain: Callable[[Mapping[str, Any]], Any] | None


def cases(sizes: Sizes, architecture: int, activation: str, device: str) -> Sequence[Case]:
    """All but the FP8 norm and the merge of candidates, with fresh random inputs."""
    kind = TORCH_TYPES[activation]

    def random(*shape: int, like: Any = kind) -> Any:
        return torch.randn(shape, device=device).to(like)

    return [
        _norm(sizes, random),
        _rope(sizes, random),
        _split(sizes, random),
        _gemv(sizes, random),
        _pool(sizes, random),
        _sample(sizes, random),
        _similarity(sizes, random, configuration(similarity.SIMILARITY_TOP_K, architecture).constants),
    ]


def _norm(sizes: Sizes, random: Any) -> Case:
    shape = (sizes.norm_rows, sizes.hidden)
    inputs = {"x": random(*shape), "residual": random(*shape), "weight": random(sizes.hidden)}
    item = inputs["x"].element_size()

    def plain(given: Mapping[str, Any]) -> Any:
        total = given["x"] + given["residual"]
        return torch.nn.functional.rms_norm(total.float(), (sizes.hidden,), given["weight"].float(), EPSILON).to(
            total.dtype
        )

    moved = item * (4 * shape[0] * shape[1] + shape[1])
    return Case(norm.ADD_RMS_NORM, norm.constants(sizes.hidden, EPSILON), inputs, moved, 0.85, plain)


def _memory(sizes: Sizes, random: Any) -> dict[str, Any]:
    buffer = (sizes.rows, sizes.kv_heads, sizes.context, sizes.head_dim)
    table = torch.arange(sizes.rows, dtype=torch.int32)[:, None]
    keys = random(*buffer)
    return {"keys": keys, "values": random(*buffer), "table": table.to(keys.device)}


def _rope(sizes: Sizes, random: Any) -> Case:
    half, width = sizes.head_dim // 2, (sizes.heads + 2 * sizes.kv_heads) * sizes.head_dim
    memory, angles = _memory(sizes, random), random(sizes.context, half, like=torch.float32)
    device = angles.device
    inputs = {
        "qkv": random(sizes.rows, 1, width),
        "starts": torch.full((sizes.rows,), sizes.held - 1, dtype=torch.int32, device=device),
        "new_lengths": torch.ones(sizes.rows, dtype=torch.int32, device=device),
        "table": memory["table"],
        "cosine": angles.cos(),
        "sine": angles.sin(),
        "keys": memory["keys"],
        "values": memory["values"],
    }
    item = inputs["qkv"].element_size()

    def plain(given: Mapping[str, Any]) -> Any:
        queries = given["qkv"].view(sizes.rows, -1, sizes.head_dim)[:, : sizes.heads].float()
        cos, sin = given["cosine"][given["starts"].long()][:, None], given["sine"][given["starts"].long()][:, None]
        first, second = queries.chunk(2, dim=-1)
        turned = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
        return turned.to(given["qkv"].dtype).view(sizes.rows, 1, -1)

    fixed = rope.constants(sizes.heads, sizes.kv_heads, sizes.head_dim, sizes.context)
    moved = sizes.rows * (2 * item * width + 8 * half)
    return Case(rope.ROPE_KV_APPEND, fixed, inputs, moved, None, plain)


def _split(sizes: Sizes, random: Any) -> Case:
    memory = _memory(sizes, random)
    queries = random(sizes.rows, sizes.heads * sizes.head_dim)
    lengths = torch.full((sizes.rows,), sizes.held, dtype=torch.int32, device=queries.device)
    inputs = {"queries": queries, **memory, "lengths": lengths}

    fixed = decode.split_constants(sizes.heads, sizes.kv_heads, sizes.head_dim, sizes.context)
    moved = 2 * queries.element_size() * sizes.rows * sizes.kv_heads * sizes.held * sizes.head_dim
    return Case(decode.GQA_DECODE_SPLIT, fixed, inputs, moved, 0.75, None)


def plain_attention(sizes: Sizes, given: Mapping[str, Any]) -> Any:
    """What split and reduction compute together, by torch's own attention."""
    queries = given["queries"].view(sizes.rows, sizes.heads, 1, sizes.head_dim)
    keys, values = given["keys"][:, :, : sizes.held], given["values"][:, :, : sizes.held]
    attended = torch.nn.functional.scaled_dot_product_attention(queries, keys, values, enable_gqa=True)
    return attended.reshape(sizes.rows, -1)


def _gemv(sizes: Sizes, random: Any) -> Case:
    x = random(sizes.rows, sizes.hidden)
    packed = torch.randint(-128, 128, (sizes.outputs, sizes.hidden // 2), device=x.device, dtype=torch.int8)
    scales = random(sizes.outputs, sizes.hidden // sizes.group).abs() / 100

    def plain(given: Mapping[str, Any]) -> Any:
        pairs = given["packed"].view(torch.uint8).view(sizes.outputs, -1, sizes.group // 2)
        steps = torch.cat([pairs & 15, pairs >> 4], dim=-1).to(given["x"].dtype) - ZERO
        return given["x"] @ (steps * given["scales"][..., None]).view(sizes.outputs, -1).T

    inputs = {"x": x, "packed": packed, "scales": scales}
    moved = packed.numel() + scales.numel() * scales.element_size()
    fixed = gemv.constants(sizes.hidden, sizes.outputs, sizes.group)
    return Case(gemv.W4A16_GEMV, fixed, inputs, moved, 0.75, plain)


def _pool(sizes: Sizes, random: Any) -> Case:
    x = random(sizes.texts, sizes.positions, sizes.features)
    inputs = {"x": x, "mask": torch.ones(sizes.texts, sizes.positions, dtype=torch.int32, device=x.device)}

    def plain(given: Mapping[str, Any]) -> Any:
        counted = given["x"].float() * given["mask"][..., None]
        return torch.nn.functional.normalize(counted.sum(1) / given["mask"].sum(1, keepdim=True), dim=-1)

    moved = x.numel() * x.element_size()
    return Case(pool.MEAN_POOL_L2, pool.constants(sizes.features), inputs, moved, 0.85, plain)


def _sample(sizes: Sizes, random: Any) -> Case:
    logits = random(sizes.rows, sizes.vocabulary, like=torch.float32) * 3
    row = torch.ones(sizes.rows, device=logits.device)
    inputs = {
        "logits": logits,
        "temperature": row * 0,
        "top_k": row.int() * 40,
        "top_p": row * 0.95,
        "uniform": row / 2,
    }

    def plain(given: Mapping[str, Any]) -> Any:
        return given["logits"].argmax(-1).int()

    moved = logits.numel() * 4
    return Case(sample.SAMPLE_TOP_K_TOP_P, sample.constants(sizes.vocabulary), inputs, moved, None, plain)


def _similarity(sizes: Sizes, random: Any, tuned: Mapping[str, int]) -> Case:
    matrix = random(sizes.vectors, sizes.features, like=torch.float16)
    inputs = {"queries": random(1, sizes.features, like=torch.float16), "matrix": matrix}
    fixed = similarity.constants(sizes.features, sizes.k, tuned["BLOCK_FEATURES"])
    return Case(similarity.SIMILARITY_TOP_K, fixed, inputs, matrix.numel() * 2, 0.85, None)
