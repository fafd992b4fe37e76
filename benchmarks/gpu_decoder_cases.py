"""The cases of a decoder's operators: add + norm, RoPE + append, decode attention, the 4-bit product, sampling."""

from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.gpu_cases import Case, Inputs, Launcher, Sizes, Target
from kernels.add_rms_norm import plugin as norm
from kernels.add_rms_norm import reference as norm_reference
from kernels.gqa_decode_attention import plugin as decode
from kernels.gqa_decode_attention.reference import gqa_decode_attention
from kernels.rope_kv_append import plugin as rope
from kernels.rope_kv_append.reference import rope_kv_append
from kernels.sample_top_k_top_p import plugin as sample
from kernels.sample_top_k_top_p.reference import sample_top_k_top_p
from kernels.specimens import EPSILON
from kernels.w4a16_gemv import plugin as gemv
from kernels.w4a16_gemv import reference as gemv_reference

FP8_LARGEST = 448.0


def norm_case(sizes: Sizes, target: Target, quantised: bool) -> Case:
    """`rows x positions` rows of `hidden` features."""
    shape = (sizes.rows * sizes.positions, sizes.hidden)
    inputs = {"x": target.random(*shape), "residual": target.random(*shape), "weight": target.random(sizes.hidden)}
    if quantised:
        inputs["scale"] = torch.full((1,), 0.02, device=target.device)
    contract = norm.ADD_RMS_NORM_FP8 if quantised else norm.ADD_RMS_NORM
    chosen = target.kernel(contract, norm.constants(sizes.hidden, EPSILON))

    def reference(given: Inputs) -> Sequence[Any]:
        parts = (given["x"], given["residual"], given["weight"])
        if quantised:
            return norm_reference.add_rms_norm_fp8(*parts, float(given["scale"][0]), EPSILON)
        return norm_reference.add_rms_norm(*parts, EPSILON)

    def plain(given: Inputs) -> Sequence[Any]:
        total = given["x"].float() + given["residual"].float()
        normed = torch.nn.functional.rms_norm(total, (sizes.hidden,), given["weight"].float(), EPSILON)
        if quantised:
            scaled = (normed / given["scale"]).clamp(-FP8_LARGEST, FP8_LARGEST)
            return scaled.to(torch.float8_e4m3fn), total.to(given["x"].dtype)
        return normed.to(given["x"].dtype), total.to(given["x"].dtype)

    item = inputs["x"].element_size()
    moved = ((3 * item + 1) if quantised else 4 * item) * shape[0] * shape[1] + item * shape[1]
    share = 0.85 if sizes.positions > 1 else None  # a few rows are a launch's time, whatever they weigh
    return Case(contract.name, inputs, lambda launcher, given: launcher(chosen, given), reference, plain, moved, share)


def memory(sizes: Sizes, target: Target) -> dict[str, Any]:
    """Keys, values and table: a page a row in order, or pages in any order with some to spare."""
    spare = 2 if sizes.ragged else 0
    count = sizes.rows * sizes.pages
    buffer = (count + spare, sizes.kv_heads, sizes.page_size, sizes.head_dim)
    order = torch.randperm(count + spare)[:count] if sizes.ragged else torch.arange(count)
    table = order.to(torch.int32).reshape(sizes.rows, sizes.pages).to(target.device)
    return {"keys": target.random(*buffer), "values": target.random(*buffer), "table": table}


def rope_case(sizes: Sizes, target: Target) -> Case:
    """Tokens that end at `held`, or anywhere, some rows shorter than others."""
    half, width = sizes.head_dim // 2, (sizes.heads + 2 * sizes.kv_heads) * sizes.head_dim
    context = sizes.page_size * sizes.pages
    held, angles = memory(sizes, target), target.random(context, half, like=torch.float32)
    starts = target.all_of(sizes.held - sizes.positions, sizes.rows)
    lengths = target.all_of(sizes.positions, sizes.rows)
    if sizes.ragged:
        starts = target.whole(0, context - 1, sizes.rows)
        lengths = target.whole(0, sizes.positions, sizes.rows)
    inputs = {"qkv": target.random(sizes.rows, sizes.positions, width), "starts": starts, "new_lengths": lengths}
    inputs |= {"cosine": angles.cos(), "sine": angles.sin(), **held}
    fixed = rope.constants(sizes.heads, sizes.kv_heads, sizes.head_dim, sizes.page_size)
    chosen = target.kernel(rope.ROPE_KV_APPEND, fixed)

    def plain(given: Inputs) -> Sequence[Any]:
        heads = given["qkv"].view(sizes.rows, sizes.positions, -1, sizes.head_dim)
        place = given["starts"][:, None] + torch.arange(sizes.positions, device=target.device)
        cos, sin = given["cosine"][place][:, :, None], given["sine"][place][:, :, None]
        first, second = heads[:, :, : sizes.heads + sizes.kv_heads].float().chunk(2, dim=-1)
        turned = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(given["qkv"].dtype)
        slots = given["table"].long()
        given["keys"][slots, :, place] = turned[:, :, sizes.heads :]
        given["values"][slots, :, place] = heads[:, :, sizes.heads + sizes.kv_heads :]
        queries = turned[:, :, : sizes.heads].reshape(sizes.rows, sizes.positions, -1)
        return queries, given["keys"], given["values"]

    item, tokens = inputs["qkv"].element_size(), sizes.rows * sizes.positions
    share = 0.85 if sizes.positions > 1 else None
    moved = tokens * (2 * item * width + 8 * half)
    reference = lambda given: rope_kv_append(**given, heads=sizes.heads)  # noqa: E731 - one of three of a kind
    return Case("rope_kv_append", inputs, lambda by, given: by(chosen, given), reference, plain, moved, share)


def attention_case(sizes: Sizes, target: Target) -> Case:
    """Split and reduction, a token a row over `held` keys, or over any number, of which one row has none."""
    lengths = target.all_of(sizes.held, sizes.rows)
    if sizes.ragged:
        lengths = target.whole(1, sizes.page_size * sizes.pages, sizes.rows)
        lengths[0] = 0
    inputs = {"queries": target.random(sizes.rows, sizes.heads * sizes.head_dim), **memory(sizes, target)}
    inputs["lengths"] = lengths
    fixed = decode.split_constants(sizes.heads, sizes.kv_heads, sizes.head_dim, sizes.page_size)
    split = target.kernel(decode.GQA_DECODE_SPLIT, fixed)
    joined = decode.reduce_constants(sizes.heads, sizes.head_dim, split.constants["SPLITS"])
    reduction = target.kernel(decode.GQA_DECODE_REDUCE, joined)

    def run(launcher: Launcher, given: Inputs) -> Sequence[Any]:
        partial, statistics = launcher(split, given)
        shares = {"partial": partial, "statistics": statistics, "like": given["queries"]}
        return launcher(reduction, shares)

    def plain(given: Inputs) -> Sequence[Any]:
        queries = given["queries"].view(sizes.rows, sizes.heads, 1, sizes.head_dim)
        keys, values = given["keys"][:, :, : sizes.held], given["values"][:, :, : sizes.held]
        attended = torch.nn.functional.scaled_dot_product_attention(queries, keys, values, enable_gqa=True)
        return [attended.reshape(sizes.rows, -1)]

    moved = 2 * inputs["queries"].element_size() * sizes.rows * sizes.kv_heads * sizes.held * sizes.head_dim
    reference = lambda given: [gqa_decode_attention(**given, heads=sizes.heads)]  # noqa: E731
    return Case("gqa_decode_attention", inputs, run, reference, plain, moved, 0.75)


def gemv_case(sizes: Sizes, target: Target) -> Case:
    """`rows` times `outputs x hidden` weights."""
    x = target.random(sizes.rows, sizes.hidden)
    packed = torch.randint(-128, 128, (sizes.outputs, sizes.hidden // 2), device=x.device, dtype=torch.int8)
    scales = target.random(sizes.outputs, sizes.hidden // sizes.group).abs() / 100
    inputs = {"x": x, "packed": packed, "scales": scales}
    part, half = torch.arange(4, device=x.device), torch.arange(2, device=x.device)
    shifts = (4 * part[:, None, None] + 16 * half).int()
    chosen = target.kernel(gemv.W4A16_GEMV, gemv.constants(sizes.hidden, sizes.outputs, sizes.group))

    def plain(given: Inputs) -> Sequence[Any]:
        words = given["packed"].view(torch.int32).view(sizes.outputs, -1, 1, sizes.group // 8, 1)
        steps = ((words >> shifts) & 15).to(given["x"].dtype).view(*given["scales"].shape, -1) - gemv_reference.ZERO
        return [given["x"] @ (steps * given["scales"][..., None]).view(sizes.outputs, -1).T]

    reference = lambda given: [gemv_reference.w4a16_gemv(**given)]  # noqa: E731
    moved = packed.numel() + scales.numel() * scales.element_size()
    return Case("w4a16_gemv", inputs, lambda by, given: by(chosen, given), reference, plain, moved, 0.75)


def sample_case(sizes: Sizes, target: Target, greedy: bool) -> Case:
    """The likeliest token, or one of those that top-k and top-p keep."""
    row = torch.ones(sizes.rows, device=target.device)
    inputs = {
        "logits": target.random(sizes.rows, sizes.vocabulary, like=torch.float32) * 3,
        "temperature": row * (0 if greedy else 0.8),
        "top_k": row.int() * 40,
        "top_p": row * 0.9,
        "uniform": torch.rand(sizes.rows, device=target.device),
    }
    choice = target.kernel(sample.SAMPLE_CANDIDATES, sample.candidate_constants(sizes.vocabulary))
    cap, block = choice.constants["CAP"], choice.constants["BLOCK"]
    draw = target.kernel(sample.SAMPLE_TOP_K_TOP_P, sample.draw_constants(sizes.vocabulary, cap, block))

    def run(launcher: Launcher, given: Inputs) -> Sequence[Any]:
        candidates, ids, statistics = launcher(choice, given)
        return launcher(draw, {**given, "candidates": candidates, "ids": ids, "statistics": statistics})

    def reference(given: Inputs) -> Sequence[Any]:
        columns = zip(*given.values(), strict=True)
        return [[sample_top_k_top_p(one, float(t), int(k), float(p), float(u)) for one, t, k, p, u in columns]]

    def plain(given: Inputs) -> Sequence[Any]:
        if greedy:
            return [given["logits"].argmax(-1).int()]
        values, order = given["logits"].sort(descending=True, stable=True)
        place = torch.arange(sizes.vocabulary, device=target.device)
        weights = torch.softmax(values / given["temperature"][:, None], -1) * (place < given["top_k"][:, None])
        before = weights.cumsum(-1) - weights
        kept = weights * (before < given["top_p"][:, None] * weights.sum(-1, keepdim=True))
        running = torch.zeros_like(kept).scatter(-1, order, kept).cumsum(-1)
        return [(running > given["uniform"][:, None] * running[:, -1:]).int().argmax(-1).int()]

    moved = inputs["logits"].numel() * 4
    name = f"sample_top_k_top_p{', greedy' if greedy else ''}"
    return Case(name, inputs, run, reference, plain, moved, None)
