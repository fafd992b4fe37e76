"""RoPE + KV append agrees with its reference on linear and paged memory."""

from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels.launch import launch
from kernels.rope_kv_append import kernel, reference
from kernels.rope_kv_append.plugin import ROPE_KV_APPEND, constants
from tests.kernels.tensors import REPEATABLE, Source, assert_close, exact, seeds, types


def check(
    kernel: Any, seed: int, heads: tuple[int, int], half: int, positions: int, page_size: int, pages: int, kind: str
) -> None:
    """Three rows at random places of their pages, some idle, some reaching beyond memory."""
    source, rows, (kv_heads, group) = Source(seed), 3, heads
    width = (kv_heads * group + 2 * kv_heads) * 2 * half
    qkv = source.spread(rows, positions, width, kind=kind, gap=seed % 5)
    table = source.pages(rows, pages, spare=2)
    memory = (rows * pages + 2, kv_heads, page_size, 2 * half)
    angles = source.normal(pages * page_size, half)
    inputs = {
        "qkv": qkv,
        "starts": source.integers(0, pages * page_size - 1, rows),
        "new_lengths": source.integers(0, positions, rows),
        "table": table,
        "cosine": torch.cos(angles),
        "sine": torch.sin(angles),
        "keys": source.normal(*memory, kind=kind),
        "values": source.normal(*memory, kind=kind),
    }
    before = {name: exact(value).copy() for name, value in inputs.items()}
    fixed = constants(kv_heads * group, kv_heads, 2 * half, page_size, width + seed % 5)
    tuned = {"BLOCK_HEADS": 2 ** (seed % 4)}
    found = launch(ROPE_KV_APPEND, inputs, {**fixed, **tuned}, kind, kernel=kernel.rope_kv_append)
    expected = reference.rope_kv_append(**before, heads=kv_heads * group)
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other, kind)


@REPEATABLE
@given(
    seeds,
    st.tuples(st.integers(1, 3), st.integers(1, 4)),
    st.integers(1, 20),
    st.integers(1, 4),
    st.integers(1, 9),
    st.integers(1, 3),
    types,
)
def test_agrees_with_the_reference(
    seed: int, heads: tuple[int, int], half: int, positions: int, page_size: int, pages: int, kind: str
) -> None:
    """Grouped heads, odd sizes, one page a row (linear memory) or several, every type; the rest of memory is kept."""
    check(kernel, seed, heads, half, positions, page_size, pages, kind)
