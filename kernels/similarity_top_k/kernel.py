"""Nearest stored vectors by inner product, brute force: the matrix is read once, only candidates leave the kernel."""

import triton
import triton.language as tl


@triton.jit
def similarity_top_k(
    queries, matrix,
    query_count, rows, chunks,
    scores, ids,
    FEATURES: tl.constexpr, FEATURE_BLOCK: tl.constexpr, K: tl.constexpr, QUERY_BLOCK: tl.constexpr,
    BLOCK_ROWS: tl.constexpr, BLOCK_FEATURES: tl.constexpr,
):  # fmt: skip
    """One program takes BLOCK_ROWS rows and QUERY_BLOCK queries, and keeps the best K rows of each query."""
    chunk = tl.program_id(0)
    query = tl.program_id(1) * QUERY_BLOCK + tl.arange(0, QUERY_BLOCK)
    row = chunk.to(tl.int64) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    products = tl.zeros([QUERY_BLOCK, BLOCK_ROWS], tl.float32)
    for at in range(0, FEATURE_BLOCK, BLOCK_FEATURES):
        column = at + tl.arange(0, BLOCK_FEATURES)
        asked = (query < query_count)[:, None] & (column < FEATURES)[None, :]
        left = tl.load(queries + query[:, None] * FEATURES + column[None, :], mask=asked, other=0.0)
        stored = (row < rows)[:, None] & (column < FEATURES)[None, :]
        right = tl.load(matrix + row[:, None] * FEATURES + column[None, :], mask=stored, other=0.0)
        products = tl.dot(left, tl.trans(right), acc=products)
    products = tl.where((row < rows)[None, :], products, float("-inf"))
    target = (query.to(tl.int64) * chunks + chunk) * K
    place = tl.arange(0, BLOCK_ROWS)
    for rank in range(K):
        best, index = tl.max(products, axis=1, return_indices=True)
        found = tl.where(best > float("-inf"), chunk * BLOCK_ROWS + index, -1)
        tl.store(scores + target + rank, best, mask=query < query_count)
        tl.store(ids + target + rank, found, mask=query < query_count)
        products = tl.where(place[None, :] == index[:, None], float("-inf"), products)


@triton.jit
def top_k_merge(
    scores, ids,
    count, chunks,
    best_scores, best_ids,
    K: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program keeps the best K of BLOCK candidates of one query; applied until one block is left."""
    query, chunk = tl.program_id(0).to(tl.int64), tl.program_id(1)
    place = tl.arange(0, BLOCK)
    column = chunk * BLOCK + place
    values = tl.load(scores + query * count + column, mask=column < count, other=float("-inf"))
    names = tl.load(ids + query * count + column, mask=column < count, other=-1)
    target = (query * chunks + chunk) * K
    for rank in range(K):
        best, index = tl.max(values, axis=0, return_indices=True)
        name = tl.max(tl.where(place == index, names, -1), axis=0)
        tl.store(best_scores + target + rank, best)
        tl.store(best_ids + target + rank, tl.where(best > float("-inf"), name, -1))
        values = tl.where(place == index, float("-inf"), values)
