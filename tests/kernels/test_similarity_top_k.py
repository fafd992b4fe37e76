"""Brute-force similarity search finds what sorting finds."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kernels.launch import launch
from kernels.similarity_top_k import kernel, reference
from kernels.similarity_top_k.plugin import SIMILARITY_TOP_K, TOP_K_MERGE, constants
from tests.kernels.tensors import REPEATABLE, Source, exact, seeds


def check(kernel: Any, seed: int, queries: int, rows: int, features: int, k: int) -> None:
    """Small whole numbers, whose products are exact, so that ties are ties and go to the lower id."""
    source = Source(seed)
    asked = source.integers(-2, 2, queries, features).half()
    matrix = source.integers(-2, 2, rows, features).half()
    fixed = {**constants(features, k, 16), "BLOCK_ROWS": 16, "BLOCK_FEATURES": 16}
    scan, merge = kernel.similarity_top_k, kernel.top_k_merge
    scores, ids = launch(SIMILARITY_TOP_K, {"queries": asked, "matrix": matrix}, fixed, "fp16", kernel=scan)
    while scores.shape[1] > 1:
        candidates = {"scores": scores.reshape(queries, -1), "ids": ids.reshape(queries, -1)}
        scores, ids = launch(TOP_K_MERGE, candidates, {"K": k, "BLOCK": 32}, "fp16", kernel=merge)
    expected, names = reference.similarity_top_k(exact(asked), exact(matrix), k)
    np.testing.assert_array_equal(exact(scores[:, 0]), expected)
    np.testing.assert_array_equal(exact(ids[:, 0]), names)


@REPEATABLE
@given(seeds, st.integers(1, 20), st.integers(1, 150), st.integers(1, 70), st.integers(1, 12))
def test_agrees_with_the_reference(seed: int, queries: int, rows: int, features: int, k: int) -> None:
    """Fewer rows than are asked for, more queries than a block, any number of features, many equal scores."""
    check(kernel, seed, queries, rows, features, k)
