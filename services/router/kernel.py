"""Kernel ridge regression on landmarks: closed form to fit, one matrix product to ask, smooth in its inputs.

The kernel is a Gaussian, for what holds nearby, and where wanted a linear one too, for what holds everywhere. Nyström's
approximation (Williams and Seeger 2001): with B between n rows and l landmarks and K among the landmarks, the
coefficients c minimise |B c - y|^2 + penalty c' K c; a linear kernel adds values of the point to B, a unit matrix to K.
Outputs observed on other rows are solved by themselves.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

_JITTER = 1e-4
_HALF = np.array(0.5, np.float32)
_SLOPE = np.array(0.3, np.float32)  # square root of what the linear kernel counts
_MOST_LEVERAGE = 0.999


@dataclass(frozen=True)
class Machine:
    """Predicts k outputs from points of a space whose scale is the kernel's: exp(-|x - x'|^2 / 2).

    Args:
        landmarks: float32 [l, d].
        coefficients: float32 [l + straight, k].
        offset: float32 [k], the mean of what was fitted.
        straight: how many of a point's last values have a linear kernel as well.
    """

    landmarks: NDArray[np.float32]
    coefficients: NDArray[np.float32]
    offset: NDArray[np.float32]
    straight: int = 0

    @cached_property
    def _columns(self) -> NDArray[np.float32]:
        """The landmarks the other way round: one point's product with them takes two thirds of the time."""
        return np.ascontiguousarray(self.landmarks.T)

    @cached_property
    def _weights(self) -> NDArray[np.float32]:
        """The coefficients, each output's side by side: so are few outputs of many terms faster to come by."""
        return np.asfortranarray(self.coefficients)

    @cached_property
    def _half_lengths(self) -> NDArray[np.float32]:
        found: NDArray[np.float32] = 0.5 * np.einsum("ld,ld->l", self.landmarks, self.landmarks)
        return found

    def similarities(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """The kernel between points [..., d] and landmarks: [..., l]."""
        own = _HALF * np.vecdot(points, points)[..., None]
        found: NDArray[np.float32] = points.dot(self._columns)
        found -= self._half_lengths
        found -= own
        return np.exp(found, out=found)

    def terms(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the coefficients weigh, [..., l + straight]: similarities to the landmarks, then the straight values."""
        near = self.similarities(points)
        if not self.straight:
            return near
        return np.concatenate((near, points[..., -self.straight :] * _SLOPE), axis=-1)

    def predict(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Outputs [..., k] for points [..., d]."""
        return self.weighed(self.terms(points))

    def weighed(self, terms: NDArray[np.float32]) -> NDArray[np.float32]:
        """Outputs [..., k] for points whose terms are known."""
        found: NDArray[np.float32] = terms.dot(self._weights)
        found += self.offset
        return found


def drawn(points: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """At most so many of the points, by chance, always the same."""
    return points[np.sort(np.random.default_rng(0).permutation(len(points))[:count])]


def fit_machine(
    points: NDArray[np.float32],
    outputs: NDArray[np.float64],
    penalty: float,
    landmarks: NDArray[np.float32],
    straight: int = 0,
) -> Machine:
    """Fits outputs [n, k] on points [n, d]; an output that is not a number was not observed.

    Args:
        points: prompts, on the kernel's scale.
        outputs: what was observed.
        penalty: of the coefficients, in observations.
        landmarks: [l, d].
        straight: as `Machine` has it.
    """
    chosen = np.ascontiguousarray(landmarks, np.float32)
    observed = ~np.isnan(outputs)
    offset = np.where(observed, outputs, 0).sum(axis=0) / np.maximum(observed.sum(axis=0), 1)
    nothing = np.zeros((len(chosen) + straight, outputs.shape[1]), np.float32)
    machine = Machine(chosen, nothing, offset.astype(np.float32), straight)
    for seen, columns, used, factor in _systems(machine, points, observed, penalty):
        machine.coefficients[:, columns] = cho_solve(factor, used.T @ (outputs[seen][:, columns] - offset[columns]))
    return machine


def left_out(
    machine: Machine,
    points: NDArray[np.float32],
    outputs: NDArray[np.float64],
    penalty: float,
    folds: NDArray[np.intp],
) -> NDArray[np.float64]:
    """What the machine would predict for each row that it was fitted on, [n, k], fitted without that row's fold.

    In closed form, with the same landmarks and offset: (I - H) e' = e within a fold, where H is its part of the hat
    matrix, e what is left of the outputs, e' what would be.
    """
    found = machine.predict(points).astype(np.float64)
    for seen, columns, used, factor in _systems(machine, points, ~np.isnan(outputs), penalty):
        rows = np.flatnonzero(seen)
        for fold in np.unique(folds[rows]):
            within = folds[rows] == fold
            block, near = np.ix_(rows[within], columns), used[within]
            kept = np.eye(len(near)) - _MOST_LEVERAGE * near @ cho_solve(factor, near.T)
            found[block] = outputs[block] - np.linalg.solve(kept, outputs[block] - found[block])
    return found


def _systems(
    machine: Machine, points: NDArray[np.float32], observed: NDArray[np.bool_], penalty: float
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.intp], NDArray[np.float64], tuple[NDArray[np.float64], bool]]]:
    """For outputs that were observed on the same rows: the rows, the outputs, their kernel and its factor."""
    between, count = machine.terms(points).astype(np.float64), len(machine.landmarks)
    prior = penalty * np.eye(between.shape[1])
    prior[:count, :count] *= _JITTER
    prior[:count, :count] += penalty * machine.similarities(machine.landmarks)
    patterns, which = np.unique(observed, axis=1, return_inverse=True)
    for place, seen in enumerate(patterns.T):
        used = between[seen]
        yield seen, np.flatnonzero(which.reshape(-1) == place), used, cho_factor(used.T @ used + prior)
