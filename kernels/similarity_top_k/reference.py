"""The k stored vectors of largest inner product, in float64."""

from typing import Any

import numpy as np


def similarity_top_k(queries: Any, matrix: Any, k: int) -> tuple[Any, Any]:
    """`(scores, ids)` `[queries, k]`, best first, equal ones by id; -inf and -1 where there are fewer than k rows."""
    products = queries.astype(np.float64) @ matrix.astype(np.float64).T
    order = np.argsort(-products, axis=1, kind="stable")[:, :k]
    missing = ((0, 0), (0, k - order.shape[1]))
    scores = np.pad(np.take_along_axis(products, order, 1), missing, constant_values=-np.inf)
    return scores, np.pad(order, missing, constant_values=-1)
