"""Attention of one new token a row over paged memory: keys are split between programs, a second kernel joins them."""

import triton
import triton.language as tl

SHARE_STEP: tl.constexpr = tl.constexpr(16)  # shares of whole blocks would leave some without keys
LONG_SHARE: tl.constexpr = tl.constexpr(256)  # keys whose bytes are 32 times those of a share's sums, in groups of four


@triton.jit
def gqa_decode_split(
    queries, keys, values, table, lengths,
    pages,
    partial, statistics,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, HEAD_DIM: tl.constexpr, DIM_BLOCK: tl.constexpr,
    GROUP_BLOCK: tl.constexpr, PAGE_SIZE: tl.constexpr, QUERY_STRIDE: tl.constexpr, SCALE: tl.constexpr,
    WINDOW: tl.constexpr, SPLITS: tl.constexpr, BLOCK_KEYS: tl.constexpr,
):  # fmt: skip
    """One program takes one row, one KV head with all queries that share it, and one of SPLITS shares of the keys.

    `partial` is the sum of values weighted by 2^(score - largest), `statistics` the largest score and the weights' sum;
    SCALE takes a product to the exponent of 2; the last WINDOW keys are seen, all where it is 0. A share without keys
    has a largest score of -inf, and writes no `partial`; the more rows there are to fill the machine, the longer the
    shortest share, and the fewer have keys.
    """
    row, kv_head, split = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2)
    group: tl.constexpr = HEADS // KV_HEADS
    member, column = tl.arange(0, GROUP_BLOCK), tl.arange(0, DIM_BLOCK)
    head = kv_head * group + member
    asked = (member < group)[:, None] & (column < HEAD_DIM)[None, :]
    query = tl.load(queries + row * QUERY_STRIDE + head[:, None] * HEAD_DIM + column[None, :], mask=asked, other=0.0)

    length, front_page = tl.load(lengths + row), tl.load(table + row * pages)
    first = tl.maximum(length - WINDOW, 0) if WINDOW else length * 0
    shortest = tl.minimum(tl.num_programs(0) * KV_HEADS, LONG_SHARE)
    share = tl.cdiv(tl.maximum(tl.cdiv(length - first, SPLITS), shortest), SHARE_STEP) * SHARE_STEP
    begin = first + split * share
    end = tl.minimum(begin + share, length)
    if pages == 1:  # linear memory: no read of a key waits for a read of the table
        largest, weights, result = _attend(
            query, keys, values, table, front_page, kv_head, column, begin, end,
            KV_HEADS, HEAD_DIM, PAGE_SIZE, SCALE, BLOCK_KEYS, False,
        )  # fmt: skip
    else:
        largest, weights, result = _attend(
            query, keys, values, table + row * pages, front_page, kv_head, column, begin, end,
            KV_HEADS, HEAD_DIM, PAGE_SIZE, SCALE, BLOCK_KEYS, True,
        )  # fmt: skip

    slot = (row * HEADS + head) * SPLITS + split
    written = (member < tl.where(begin < end, group, 0))[:, None] & (column < HEAD_DIM)[None, :]
    tl.store(partial + slot[:, None] * HEAD_DIM + column[None, :], result, mask=written)
    tl.store(statistics + slot * 2, largest, mask=member < group)
    tl.store(statistics + slot * 2 + 1, weights, mask=member < group)


@triton.jit
def _attend(
    query, keys, values, row_table, front_page, kv_head, column, begin, end,
    KV_HEADS: tl.constexpr, HEAD_DIM: tl.constexpr, PAGE_SIZE: tl.constexpr, SCALE: tl.constexpr,
    BLOCK_KEYS: tl.constexpr, PAGED: tl.constexpr,
):  # fmt: skip
    """The share's largest scores, sums of weights and weighted values; all keys lie in `front_page` unless PAGED."""
    largest = tl.full([query.shape[0]], float("-inf"), tl.float32)
    weights = tl.zeros([query.shape[0]], tl.float32)
    result = tl.zeros([query.shape[0], query.shape[1]], tl.float32)
    for at in range(begin, end, BLOCK_KEYS):
        position = at + tl.arange(0, BLOCK_KEYS)
        seen = position < end
        if PAGED:
            behind = seen & (position >= PAGE_SIZE)
            page = tl.load(row_table + position // PAGE_SIZE, mask=behind, other=front_page).to(tl.int64)
            offset = ((page * KV_HEADS + kv_head) * PAGE_SIZE + position % PAGE_SIZE) * HEAD_DIM
        else:
            offset = ((front_page.to(tl.int64) * KV_HEADS + kv_head) * PAGE_SIZE + position) * HEAD_DIM
        inside = seen[:, None] & (column < HEAD_DIM)[None, :]
        key = tl.load(keys + offset[:, None] + column[None, :], mask=inside, other=0.0)
        value = tl.load(values + offset[:, None] + column[None, :], mask=inside, other=0.0)
        score = tl.dot(query, tl.trans(key), input_precision="ieee") * SCALE
        score = tl.where(seen[None, :], score, float("-inf"))
        now = tl.maximum(largest, tl.max(score, axis=1))
        faded = tl.exp2(largest - now)
        weight = tl.exp2(score - now[:, None])
        weights = weights * faded + tl.sum(weight, axis=1)
        result = result * faded[:, None] + tl.dot(weight.to(value.dtype), value, input_precision="ieee")
        largest = now
    return largest, weights, result


@triton.jit
def gqa_decode_reduce(
    partial, statistics, like, attended,
    HEADS: tl.constexpr, HEAD_DIM: tl.constexpr, DIM_BLOCK: tl.constexpr, SPLITS: tl.constexpr,
    SPLIT_BLOCK: tl.constexpr,
):  # fmt: skip
    """Joins the shares of one row and head; a row without keys gives zeros. `like` only lends `attended` its type."""
    slot = (tl.program_id(0).to(tl.int64) * HEADS + tl.program_id(1)) * SPLITS
    split, column = tl.arange(0, SPLIT_BLOCK), tl.arange(0, DIM_BLOCK)
    largest = tl.load(statistics + (slot + split) * 2, mask=split < SPLITS, other=float("-inf"))
    weights = tl.load(statistics + (slot + split) * 2 + 1, mask=split < SPLITS, other=0.0)
    highest = tl.max(largest, axis=0)
    factor = tl.exp2(largest - tl.where(highest > float("-inf"), highest, 0.0))
    inside = (largest > float("-inf"))[:, None] & (column < HEAD_DIM)[None, :]
    shares = tl.load(partial + (slot + split)[:, None] * HEAD_DIM + column[None, :], mask=inside, other=0.0)
    total = tl.sum(weights * factor, axis=0)
    result = tl.sum(shares * factor[:, None], axis=0) / tl.where(total > 0.0, total, 1.0)
    target = attended + slot // SPLITS * HEAD_DIM + column
    tl.store(target, result.to(attended.dtype.element_ty), mask=column < HEAD_DIM)
