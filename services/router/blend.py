"""What follows from how hard a prompt is for all models: where it is easy or hopeless none gains much on another.

The members' mean says what to expect of each target; their mean over all scores says how easy the prompt is. Half of
what is expected of a score is the members', half what a model of its mean score gives on a prompt so easy, by Rasch's
curve (1960), which is nearer the truth than few outcomes are. A ridge regression on what the members say of prompts
left out then bends the whole, where there are outcomes enough. Half of a harm is what came of prompts so easy.
"""

import numpy as np
from numpy.typing import NDArray

_PENALTY, _PROMPTS, _POWER = 10.0, 1500, 4  # the penalty at so many prompts, and how fast it grows for fewer
_STEEPNESS = 1.5  # of the curve: members shrink how easy a prompt is
_LEAST_CHANCE, _LEAST_SPREAD, _LEAST_PENALTY = 0.02, 1e-9, 1e-6
_OWN = np.array([0.0, 0.0, 0.0, 1.0])


def with_ease(found: NDArray[np.float32], ease: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the matrix combines, [..., 3 + t + d]: 1, ease, its square, t targets, d chances; set in place.

    Args:
        found: all but ease and its square.
        ease: what the members expect of the scores, on average, [...].
    """
    found[..., 1], found[..., 2] = ease, ease * ease
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

    Few questions tell more of chance than of how members err: the penalty of what bends scores grows as their fourth
    power. Targets that count for no ease are harms; without scores nothing changes, nor does a target nobody observed.
    """
    blend = unbent(targets.shape[1], domains)
    observed = np.isfinite(targets)
    for target in np.flatnonzero(observed.any(axis=0)).tolist() if scores.any() else ():
        seen = observed[:, target]
        own, ease, came = left_out[seen, target], left_out[seen] @ scores, targets[seen, target]
        if scores[target]:
            found = (_OWN + _bend(own, ease, _rasch(ease, came.mean()), _LEAST_PENALTY, alone=True)) / 2
            left = came - _columns(own, ease) @ found
            found += _bend(own, ease, left, _PENALTY * (_PROMPTS / questions) ** _POWER)
        else:
            found = (_OWN + _bend(own, ease, came, _PENALTY * len(own) / questions, alone=True)) / 2
        blend[[0, 1, 2, 3 + target], target] = found
    return blend


def _columns(own: NDArray[np.float64], ease: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([np.ones_like(own), ease, ease * ease, own], axis=1)


def _rasch(ease: NDArray[np.float64], mean: float) -> NDArray[np.float64]:
    """What a model that scores `mean` on prompts of mean ease scores on each."""

    def logit(chances: NDArray[np.float64]) -> NDArray[np.float64]:
        within = np.clip(chances, _LEAST_CHANCE, 1 - _LEAST_CHANCE)
        return np.asarray(np.log(within / (1 - within)))

    level, typical = logit(np.array([mean, ease.mean()]))
    return np.asarray(1 / (1 + np.exp(-level - _STEEPNESS * (logit(ease) - typical))))


def _bend(
    own: NDArray[np.float64],
    ease: NDArray[np.float64],
    wanted: NDArray[np.float64],
    penalty: float,
    alone: bool = False,
) -> NDArray[np.float64]:
    """What 1, ease, its square and the score itself count for what is wanted, [4]; ease `alone` leaves out the score.

    Penalised are the score less ease, ease, and its squared distance from the mean.
    """
    typical = ease.mean()
    basis = np.array([[0, -1, 0, 1], [0, 1, 0, 0], [typical**2, -2 * typical, 1, 0]])[alone:]
    columns = _columns(own, ease) @ basis.T
    centre, spread = columns.mean(axis=0), columns.std(axis=0) + _LEAST_SPREAD
    scaled = (columns - centre) / spread
    penalised = scaled.T @ scaled + penalty * np.eye(len(basis))
    found = np.linalg.solve(penalised, scaled.T @ (wanted - wanted.mean())) / spread
    bend: NDArray[np.float64] = found @ basis
    bend[0] += wanted.mean() - centre @ found
    return bend
