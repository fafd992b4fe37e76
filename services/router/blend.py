"""What follows from how hard a prompt is for all models: where it is easy or hopeless none gains much on another.

The members' mean says what to expect of each target; their mean over all scores says how easy the prompt is. A ridge
regression on what the members say of prompts left out bends the first by the second, as one small matrix over `terms`.
"""

import numpy as np
from numpy.typing import NDArray

_PENALTY, _PROMPTS, _POWER = 10.0, 1500, 4  # the penalty at so many prompts, and how fast it grows for fewer
_LEAST_SPREAD = 1e-9


def terms(
    expected: NDArray[np.float32], chances: NDArray[np.float32], scores: NDArray[np.float32]
) -> NDArray[np.float32]:
    """What the matrix combines, [..., 3 + t + d]: 1, ease, its square, t targets, d chances.

    Args:
        expected: of the members, [..., t].
        chances: of the domains, [..., d].
        scores: how much each target counts for ease, [t].
    """
    ease = (expected @ scores)[..., None]
    found: NDArray[np.float32] = np.concatenate((np.ones_like(ease), ease, ease * ease, expected, chances), axis=-1)
    return found


def unbent(targets: int, domains: int) -> NDArray[np.float32]:
    """The matrix [3 + t + d, t] that leaves what the members expect."""
    return np.eye(3 + targets + domains, targets, k=-3, dtype=np.float32)


def fit_blend(
    left_out: NDArray[np.float64],
    targets: NDArray[np.float64],
    scores: NDArray[np.float32],
    domains: int,
    questions: int,
) -> NDArray[np.float32]:
    """The matrix [3 + t + d, t] from what members say of n prompts left out, [n, t], and what came of them.

    Only scores are bent. Few questions tell more of chance than of how members err: the penalty of what bends grows as
    their fourth power.
    """
    blend = unbent(targets.shape[1], domains)
    penalty = _PENALTY * (_PROMPTS / questions) ** _POWER
    for target in np.flatnonzero(scores).tolist():
        seen = np.isfinite(targets[:, target])
        if seen.any():
            own, ease = left_out[seen, target], left_out[seen] @ scores
            blend[[0, 1, 2, 3 + target], target] += _bend(own, ease, targets[seen, target] - own, penalty)
    return blend


def _bend(
    own: NDArray[np.float64], ease: NDArray[np.float64], left: NDArray[np.float64], penalty: float
) -> NDArray[np.float64]:
    """What to add to a score for 1, ease, its square and the score itself, [4].

    Penalised are the score less ease, ease, and its squared distance from the mean.
    """
    typical = ease.mean()
    basis = np.array([[0, -1, 0, 1], [0, 1, 0, 0], [typical**2, -2 * typical, 1, 0]])
    columns = np.stack([np.ones_like(own), ease, ease * ease, own], axis=1) @ basis.T
    centre, spread = columns.mean(axis=0), columns.std(axis=0) + _LEAST_SPREAD
    scaled = (columns - centre) / spread
    found = np.linalg.solve(scaled.T @ scaled + penalty * np.eye(3), scaled.T @ (left - left.mean())) / spread
    bend: NDArray[np.float64] = found @ basis
    bend[0] += left.mean() - centre @ found
    return bend
