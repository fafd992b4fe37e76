"""Rotates queries and keys and appends keys and values to memory in one pass over the projections."""

import triton
import triton.language as tl


@triton.jit
def rope_kv_append(
    qkv, starts, new_lengths, table, cosine, sine, keys, values,
    positions, pages,
    queries, keys_out, values_out,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, HEAD_DIM: tl.constexpr, HALF_BLOCK: tl.constexpr,
    PAGE_SIZE: tl.constexpr, QKV_STRIDE: tl.constexpr, BLOCK_HEADS: tl.constexpr,
):  # fmt: skip
    """One program takes BLOCK_HEADS heads of one token; queries, keys and values lie side by side in `qkv`."""
    row, place = tl.program_id(0), tl.program_id(1)
    token = row.to(tl.int64) * positions + place
    half: tl.constexpr = HEAD_DIM // 2
    head = tl.program_id(2) * BLOCK_HEADS + tl.arange(0, BLOCK_HEADS)
    column = tl.arange(0, HALF_BLOCK)
    there = (head < HEADS + 2 * KV_HEADS)[:, None] & (column < half)[None, :]
    source = qkv + token * QKV_STRIDE + head[:, None] * HEAD_DIM + column[None, :]
    first = tl.load(source, mask=there, other=0.0)
    second = tl.load(source + half, mask=there, other=0.0)

    start = tl.load(starts + row)
    position = start + place
    kept = place < tl.minimum(tl.load(new_lengths + row), pages * PAGE_SIZE - start)
    angle = tl.where(kept, position, 0) * half + column
    cos = tl.load(cosine + angle, mask=column < half, other=0.0)[None, :]
    sin = tl.load(sine + angle, mask=column < half, other=0.0)[None, :]
    turned_first = (first.to(tl.float32) * cos - second.to(tl.float32) * sin).to(first.dtype)
    turned_second = (second.to(tl.float32) * cos + first.to(tl.float32) * sin).to(first.dtype)

    is_query = there & (head < HEADS)[:, None]
    target = queries + (token * HEADS + head[:, None]) * HEAD_DIM + column[None, :]
    tl.store(target, turned_first, mask=is_query)
    tl.store(target + half, turned_second, mask=is_query)

    page = tl.load(table + row * pages + position // PAGE_SIZE, mask=kept, other=0).to(tl.int64)
    kv_head = (head - HEADS) % KV_HEADS
    offset = ((page * KV_HEADS + kv_head) * PAGE_SIZE + position % PAGE_SIZE)[:, None] * HEAD_DIM + column[None, :]
    written = (column < tl.where(kept, half, 0))[None, :]
    is_key = written & ((head >= HEADS) & (head < HEADS + KV_HEADS))[:, None]
    tl.store(keys_out + offset, turned_first, mask=is_key)
    tl.store(keys_out + offset + half, turned_second, mask=is_key)
    is_value = written & ((head >= HEADS + KV_HEADS) & (head < HEADS + 2 * KV_HEADS))[:, None]
    tl.store(values_out + offset, first, mask=is_value)
    tl.store(values_out + offset + half, second, mask=is_value)
