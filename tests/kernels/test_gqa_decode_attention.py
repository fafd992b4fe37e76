"""Split decode attention with its reduction agrees with plain attention on linear and paged memory."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kernels.gqa_decode_attention import kernel, reference
from kernels.gqa_decode_attention.plugin import (
    GQA_DECODE_REDUCE,
    GQA_DECODE_SPLIT,
    reduce_constants,
    split_constants,
)
from kernels.launch import launch, new_outputs
from tests.kernels.tensors import REPEATABLE, Source, assert_close, exact, seeds, types


def check(
    kernel: Any,
    seed: int,
    heads: tuple[int, int],
    head_dim: int,
    page_size: int,
    pages: int,
    splits: int,
    kind: str,
    window: int = 0,
) -> None:
    """Three rows of random lengths, one of them idle; beyond a length, and in unwritten shares, lie no numbers."""
    source, rows, (kv_heads, group) = Source(seed), 3, heads
    count, gap = kv_heads * group, seed % 3
    memory = (rows * pages + 1, kv_heads, page_size, head_dim)
    table, lengths = source.pages(rows, pages, spare=1), source.integers(0, pages * page_size, rows)
    lengths[seed % rows] = 0
    inputs = {
        "queries": source.spread(rows, count * head_dim, kind=kind, gap=gap),
        "keys": source.normal(*memory, kind=kind),
        "values": source.normal(*memory, kind=kind),
        "table": table,
        "lengths": lengths,
    }
    for row, length in enumerate(lengths.tolist()):
        for position in range(length, pages * page_size):
            page = int(table[row, position // page_size])
            inputs["keys"][page, :, position % page_size] = float("nan")
            inputs["values"][page, :, position % page_size] = float("nan")
    fixed = split_constants(count, kv_heads, head_dim, page_size, count * head_dim + gap, window)
    tuned = {"SPLITS": splits, "BLOCK_KEYS": 16}
    shares = new_outputs(GQA_DECODE_SPLIT, inputs, {**fixed, **tuned}, kind)
    for share in shares:
        share.fill_(float("nan"))
    split = kernel.gqa_decode_split
    partial, statistics = launch(GQA_DECODE_SPLIT, inputs, fixed | tuned, kind, kernel=split, outputs=shares)
    joined = {"partial": partial, "statistics": statistics, "like": inputs["queries"].contiguous()}
    fixed = reduce_constants(count, head_dim, splits)
    (found,) = launch(GQA_DECODE_REDUCE, joined, fixed, kind, kernel=kernel.gqa_decode_reduce)
    expected = reference.gqa_decode_attention(
        **{name: exact(one) for name, one in inputs.items()}, heads=count, window=window
    )
    assert_close(found, expected, kind)


def check_shares(kernel: Any, rows: int, length: int, expected: int) -> None:
    """So many of eight shares have keys, of each row, and together they are the whole of its attention."""
    source, heads, kv_heads, size = Source(1), 4, 2, 16
    inputs = {
        "queries": source.normal(rows, heads * size),
        "keys": source.normal(rows, kv_heads, length, size),
        "values": source.normal(rows, kv_heads, length, size),
        "table": source.integers(0, rows - 1, rows, 1),
        "lengths": source.integers(length, length, rows),
    }
    fixed = {**split_constants(heads, kv_heads, size, length), "SPLITS": 8, "BLOCK_KEYS": 16}
    partial, statistics = launch(GQA_DECODE_SPLIT, inputs, fixed, "fp32", kernel=kernel.gqa_decode_split)
    assert (statistics[..., 0] > float("-inf")).sum(2).unique().tolist() == [expected]
    joined = {"partial": partial, "statistics": statistics, "like": inputs["queries"]}
    (found,) = launch(GQA_DECODE_REDUCE, joined, reduce_constants(heads, size, 8), "fp32")
    exactly = reference.gqa_decode_attention(**{name: exact(one) for name, one in inputs.items()}, heads=heads)
    assert_close(found, exactly, "fp32")


@pytest.mark.parametrize(("rows", "length", "shares"), [(1, 96, 6), (9, 96, 3), (9, 256, 8)])
def test_more_rows_have_fewer_shares(rows: int, length: int, shares: int) -> None:
    """A row alone is split as far as it goes, so that it fills the machine; many rows write fewer sums between; a long
    row is split into all shares whatever its company."""
    check_shares(kernel, rows, length, shares)


@REPEATABLE
@example(seed=3, heads=(2, 3), head_dim=40, page_size=16, pages=3, splits=3, kind="bf16", window=0)
@example(seed=5, heads=(1, 4), head_dim=16, page_size=33, pages=2, splits=5, kind="fp32", window=0)
@given(
    seeds,
    st.tuples(st.integers(1, 2), st.integers(1, 5)),
    st.integers(1, 40),
    st.sampled_from([1, 7, 16, 33]),
    st.integers(1, 3),
    st.integers(1, 5),
    types,
    st.sampled_from([0, 1, 5, 40]),
)
def test_agrees_with_the_reference(
    seed: int, heads: tuple[int, int], head_dim: int, page_size: int, pages: int, splits: int, kind: str, window: int
) -> None:
    """Grouped heads, odd sizes, windows, more splits than there are keys for, rows that hold nothing, every type."""
    check(kernel, seed, heads, head_dim, page_size, pages, splits, kind, window)
