"""Grouped-query attention (Ainslie et al. 2023) of one token a row over paged memory, in float64."""

from typing import Any

import numpy as np


def gqa_decode_attention(
    queries: Any, keys: Any, values: Any, table: Any, lengths: Any, heads: int, window: int = 0
) -> Any:
    """`[rows, heads * head_dim]`: each row's query over the first `lengths` positions of its pages; zeros for none.

    Where `window` is not 0, only the last so many of these are seen.
    """
    _, kv_heads, page_size, head_dim = keys.shape
    rows = queries.shape[0]
    split = queries.astype(np.float64).reshape(rows, kv_heads, heads // kv_heads, head_dim)
    attended = np.zeros(split.shape)
    for row, length in enumerate(lengths):
        position = np.arange(max(0, length - window) if window else 0, length)
        page = table[row, position // page_size]
        key = keys[page, :, position % page_size].astype(np.float64)
        value = values[page, :, position % page_size].astype(np.float64)
        scores = np.einsum("kgd,pkd->kgp", split[row], key) / np.sqrt(head_dim)
        if length:
            powers = np.exp(scores - scores.max(-1, keepdims=True))
            attended[row] = np.einsum("kgp,pkd->kgd", powers / powers.sum(-1, keepdims=True), value)
    return attended.reshape(rows, heads * head_dim)
