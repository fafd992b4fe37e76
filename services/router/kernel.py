"""Gaussian kernel ridge regression on landmarks: closed form to fit, one matrix product to ask, smooth in its inputs.

Nyström's approximation (Williams and Seeger 2001): with B between n rows and l landmarks and K among the landmarks, the
coefficients c minimise |B c - y|^2 + penalty c' K c. Outputs observed on other rows are solved by themselves.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

_JITTER = 1e-4
_MOST_LEVERAGE = 0.99


@dataclass(frozen=True)
class Machine:
    """Predicts k outputs from points of a space whose scale is the kernel's: exp(-|x - x'|^2 / 2).

    Args:
        landmarks: float32 [l, d].
        coefficients: float32 [l, k].
        offset: float32 [k], what is predicted far from all landmarks.
    """

    landmarks: NDArray[np.float32]
    coefficients: NDArray[np.float32]
    offset: NDArray[np.float32]

    @cached_property
    def _half_lengths(self) -> NDArray[np.float32]:
        found: NDArray[np.float32] = 0.5 * np.einsum("ld,ld->l", self.landmarks, self.landmarks)
        return found

    def similarities(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """The kernel between points [..., d] and landmarks: [..., l]."""
        own = 0.5 * np.square(points).sum(axis=-1, keepdims=True)
        found: NDArray[np.float32] = np.exp(np.minimum(points @ self.landmarks.T - self._half_lengths - own, 0))
        return found

    def predict(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Outputs [..., k] for points [..., d]."""
        found: NDArray[np.float32] = self.similarities(points) @ self.coefficients + self.offset
        return found


@dataclass(frozen=True)
class Fitted:
    """A machine, and what it would have predicted for each of its own rows had it been fitted without it, [n, k]."""

    machine: Machine
    left_out: NDArray[np.float64]


def fit_machine(
    points: NDArray[np.float32], outputs: NDArray[np.float64], penalty: float, landmarks: int, seed: int
) -> Fitted:
    """Fits outputs [n, k] on points [n, d]; an output that is not a number was not observed.

    Args:
        points: prompts, on the kernel's scale.
        outputs: what was observed.
        penalty: of the coefficients, in observations.
        landmarks: most of them, drawn from the rows.
        seed: of the draw.
    """
    rows = np.random.default_rng(seed).permutation(len(points))[:landmarks]
    chosen = np.ascontiguousarray(points[np.sort(rows)], np.float32)
    observed = ~np.isnan(outputs)
    offset = np.where(observed, outputs, 0).sum(axis=0) / np.maximum(observed.sum(axis=0), 1)
    machine = Machine(chosen, np.zeros((len(chosen), outputs.shape[1]), np.float32), offset.astype(np.float32))
    between = machine.similarities(points).astype(np.float64)
    prior = penalty * (machine.similarities(chosen).astype(np.float64) + _JITTER * np.eye(len(chosen)))
    left_out = np.empty(outputs.shape)
    patterns, which = np.unique(observed, axis=1, return_inverse=True)
    for place, seen in enumerate(patterns.T):
        columns = np.flatnonzero(which.reshape(-1) == place)
        used, wanted = between[seen], outputs[seen][:, columns] - offset[columns]
        factor = cho_factor(used.T @ used + prior)
        solved = cho_solve(factor, used.T @ wanted)
        machine.coefficients[:, columns] = solved
        found = between @ solved
        leverage = np.einsum("nl,ln->n", used, cho_solve(factor, used.T))
        leverage = np.minimum(leverage, _MOST_LEVERAGE)[:, None]
        found[seen] = (found[seen] - leverage * wanted) / (1 - leverage)
        left_out[:, columns] = found + offset[columns]
    return Fitted(machine, left_out)
