"""What models gave in each domain, weighed by how likely a prompt is of it: the evidence of specialists."""

import numpy as np
from numpy.typing import NDArray

_RIDGE, _LEAST_CHANCE = 5.0, np.array(1e-3, np.float32)


def sharpen(chances: NDArray[np.float32]) -> None:
    """Turns what the machine says of domains [..., d] into chances that sum to one, in place; d may be 0."""
    if not chances.shape[-1]:
        return
    np.maximum(chances, _LEAST_CHANCE, out=chances)
    chances *= np.sqrt(chances)
    chances /= np.add.reduce(chances, axis=-1, keepdims=True)


def domain_targets(
    chances: NDArray[np.float32], targets: NDArray[np.float64], folds: NDArray[np.intp]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Each domain's targets less their mean [d, t], by ridge regression on the chances of each row [n, d].

    And what it would say of each row, [n, t], without that row's fold, as `services.router.kernel.left_out` has it.
    """
    found = np.zeros((chances.shape[1], targets.shape[1]), np.float32)
    without = np.zeros(targets.shape)
    for column, values in enumerate(targets.T):
        seen = np.isfinite(values)
        if not seen.any():
            continue
        rows, wanted, mean = chances[seen].astype(np.float64), values[seen], values[seen].mean()
        inverse = np.linalg.inv(rows.T @ rows + _RIDGE * np.eye(rows.shape[1]))
        solved = inverse @ rows.T @ (wanted - mean)
        found[:, column] = solved
        without[:, column] = mean + chances @ solved
        for fold in np.unique(folds[seen]):
            within = folds[seen] == fold
            kept = np.eye(within.sum()) - rows[within] @ inverse @ rows[within].T
            left = np.linalg.solve(kept, wanted[within] - mean - rows[within] @ solved)
            without[np.flatnonzero(seen)[within], column] = wanted[within] - left
    return found, without
