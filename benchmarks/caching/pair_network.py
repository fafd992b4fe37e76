"""A small network with dropout on pair features and embeddings, in NumPy, so that the benchmark needs no torch."""

import numpy as np
from numpy.typing import NDArray

_HIDDEN = 256
_EPOCHS = 12
_BATCH = 256
_RATE = 2e-3  # at its highest, a third into the training
_DROPPED = 0.4
_DECAY = 1e-3
_MOMENTS = 0.9, 0.999  # Adam's

Matrix = NDArray[np.float32]


class PairNetwork:
    """One hidden layer, trained by AdamW on logistic loss with a rate that rises and falls once."""

    def __init__(self, x: Matrix, y: NDArray[np.bool_], seed: int) -> None:
        """Trains on `x` [pairs, features] and `y` [pairs]."""
        rng = np.random.default_rng(seed)
        self._mean, self._spread = x.mean(0), x.std(0) + 1e-6
        x = self._scaled(x)
        wide, narrow = x.shape[1] ** -0.5, _HIDDEN**-0.5
        self._weights: list[Matrix] = [
            rng.uniform(-limit, limit, shape).astype(np.float32)
            for limit, shape in ((wide, (x.shape[1], _HIDDEN)), (wide, _HIDDEN), (narrow, _HIDDEN), (narrow, 1))
        ]
        moments = [(np.zeros_like(one), np.zeros_like(one)) for one in self._weights]
        batches = [
            order[start : start + _BATCH]
            for order in (rng.permutation(len(x)) for _ in range(_EPOCHS))
            for start in range(0, len(order), _BATCH)
        ]
        for step, batch in enumerate(batches, 1):
            gradients = self._gradients(x[batch], y[batch].astype(np.float32), rng)
            _adam(self._weights, gradients, moments, step, _rate(step / len(batches)))

    def score(self, x: Matrix) -> NDArray[np.float64]:
        """Log-odds [pairs]."""
        first, bias, last, offset = self._weights
        return np.asarray(np.maximum(self._scaled(x) @ first + bias, 0) @ last + offset, np.float64)

    def _scaled(self, x: Matrix) -> Matrix:
        return np.asarray((x - self._mean) / self._spread, np.float32)

    def _gradients(self, x: Matrix, y: Matrix, rng: np.random.Generator) -> list[Matrix]:
        first, bias, last, offset = self._weights
        x = x * _kept(x.shape, rng)
        before = x @ first + bias
        mask = _kept(before.shape, rng) * (before > 0)
        hidden = before * mask
        error = (1 / (1 + np.exp(-(hidden @ last + offset))) - y) / len(y)
        back = error[:, None] * last * mask
        return [x.T @ back, back.sum(0), hidden.T @ error, error.sum(keepdims=True)]


def _kept(shape: tuple[int, ...], rng: np.random.Generator) -> Matrix:
    return (rng.random(shape, np.float32) >= _DROPPED).astype(np.float32) / np.float32(1 - _DROPPED)


def _rate(done: float) -> float:
    """Of the share of steps done: up to a third from nearly nothing, then down to nothing, along cosines."""
    phase = done / 0.3 if done < 0.3 else 1 + (done - 0.3) / 0.7
    return _RATE * max(0.5 * (1 - float(np.cos(np.pi * phase))), 1e-4)


def _adam(
    weights: list[Matrix], gradients: list[Matrix], moments: list[tuple[Matrix, Matrix]], step: int, rate: float
) -> None:
    """One step, in place (Loshchilov and Hutter 2019)."""
    slow, slower = _MOMENTS
    for weight, gradient, (mean, square) in zip(weights, gradients, moments, strict=True):
        mean += (1 - slow) * (gradient - mean)
        square += (1 - slower) * (gradient**2 - square)
        weight *= 1 - rate * _DECAY
        weight -= rate * (mean / (1 - slow**step)) / (np.sqrt(square / (1 - slower**step)) + 1e-8)
