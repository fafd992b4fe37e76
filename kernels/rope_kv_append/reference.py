"""Rotary embedding in the half-split layout (Su et al. 2021, laid out as Hugging Face does) and append, in float64."""

from typing import Any

import numpy as np


def rope_kv_append(
    qkv: Any, starts: Any, new_lengths: Any, table: Any, cosine: Any, sine: Any, keys: Any, values: Any, heads: int
) -> tuple[Any, Any, Any]:
    """`(queries, keys, values)`, the memories `[pages, kv_heads, page_size, head_dim]` with the new tokens in them.

    `qkv` is `[rows, positions, (heads + 2 kv_heads) * head_dim]`; token i of a row is at position `starts + i`, which
    lies in page `table[row, position // page_size]`. Tokens beyond `new_lengths`, or beyond the table, are not kept and
    their queries turned by position 0.
    """
    _, kv_heads, page_size, head_dim = keys.shape
    rows, positions, _ = qkv.shape
    split = qkv.astype(np.float64).reshape(rows, positions, heads + 2 * kv_heads, head_dim)
    keys, values = keys.astype(np.float64), values.astype(np.float64)
    queries = np.zeros((rows, positions, heads, head_dim))
    for row in range(rows):
        for place in range(positions):
            position = int(starts[row]) + place
            kept = place < new_lengths[row] and position < table.shape[1] * page_size
            angle = position if kept else 0
            turned = _rotate(split[row, place, : heads + kv_heads], cosine[angle], sine[angle])
            queries[row, place] = turned[:heads]
            if kept:
                page, inside = table[row, position // page_size], position % page_size
                keys[page, :, inside] = turned[heads:]
                values[page, :, inside] = split[row, place, heads + kv_heads :]
    return queries.reshape(rows, positions, heads * head_dim), keys, values


def _rotate(x: Any, cosine: Any, sine: Any) -> Any:
    first, second = np.split(x, 2, axis=-1)
    return np.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)
