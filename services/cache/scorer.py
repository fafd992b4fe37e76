"""The pooled online scorer of a scope: how probable it is that the candidate's answer is right."""

import math
from collections.abc import Mapping, Sequence
from operator import mul

import numpy as np
from numpy.typing import NDArray

_KEEP = 3000  # verdicts learnt from; older ones give way
_RIDGE = 1.0
_STEPS = 3  # of a refit that begins where the last one ended
_RESTORING = 5  # refits of one that begins at zero
_FIRST_REFITS = 16
_GROWTH = 0.03  # a refit after each so many verdicts, as a share of those there are
_WEIGHT_CAP = 8.0
_PESSIMISM = 1.0  # standard deviations
_WARM_WORTH = 100.0  # verdicts of the scope's own that all labels of a warm-up together weigh as much as

Rows = NDArray[np.float64]


class Scorer:
    """Ridge-penalised logistic regression on the last verdicts, refitted as they come by Newton's method.

    Labels of a warm-up are learnt beside the verdicts, at a fixed weight in all, until they are forgotten.
    """

    def __init__(self, features: int) -> None:
        self._rows = np.zeros((_KEEP, features))
        self._right = np.zeros(_KEEP)
        self._weights = np.zeros(_KEEP)
        self._coefficients: NDArray[np.float64] = np.zeros(features)
        self._known: NDArray[np.float64] = np.eye(features + 1, features)  # the covariance above the coefficients
        self.count = 0
        self._next_refit = _FIRST_REFITS
        self.warm_rows: Rows = np.zeros((0, features))
        self.warm_right: Rows = np.zeros(0)
        self._warm_coefficients: Rows = np.zeros(features)

    def warm(self, rows: Rows, right: Rows) -> None:
        """Learns the last labels of a warm-up, `[labels, features]` and `[labels]` (1 is right), in place of others."""
        self.warm_rows, self.warm_right = rows[-_KEEP:], right[-_KEEP:]
        verdicts, self.count = self.count, 0
        self._start()
        self._warm_coefficients, self.count = self._coefficients.copy(), verdicts
        if verdicts >= _FIRST_REFITS:
            self._start()

    def cool(self) -> None:
        """Forgets the labels of a warm-up."""
        self.warm(np.zeros((0, self._rows.shape[1])), np.zeros(0))

    @property
    def bytes(self) -> int:
        """Bytes of memory that the verdicts and labels take."""
        return int(min(self.count, _KEEP) * self._rows.itemsize * (self._rows.shape[1] + 2) + self.warm_rows.nbytes)

    @property
    def warmed(self) -> bool:
        """Whether there are labels of a warm-up."""
        return len(self.warm_rows) > 0

    def foreseen(self, features: Sequence[float]) -> float:
        """What the warm-up alone, without the verdicts, says of one candidate."""
        return float(_sigmoid(np.array(features) @ self._warm_coefficients))

    def probability(self, features: Sequence[float]) -> float:
        """The estimate for one candidate, lowered by what is not known of the coefficients yet."""
        seen = self._known.dot(features).tolist()  # what follows is quicker without NumPy
        spread = math.sqrt(max(sum(map(mul, features, seen)), 0.0))
        z = seen[-1] - _PESSIMISM * spread
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, z))))

    def learn(self, features: Sequence[float], right: bool, weight: float) -> None:
        """Takes a verdict; `weight` is 1 / the probability with which it was sought."""
        place = self.count % _KEEP
        self._rows[place], self._right[place] = features, right
        self._weights[place] = min(weight, _WEIGHT_CAP)
        self.count += 1
        if self.count >= self._next_refit:
            self._refit()
            self._next_refit = self.count + max(_FIRST_REFITS, round(_GROWTH * min(self.count, _KEEP)))

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """The verdicts that it knows, oldest first."""
        n = min(self.count, _KEEP)
        order = (np.arange(n) + (self.count if self.count > _KEEP else 0)) % _KEEP
        known = {"rows": self._rows, "right": self._right, "weights": self._weights}
        return {name: values[order].astype(np.float32) for name, values in known.items()}

    def fit(self) -> dict[str, Rows]:
        """What it made of the verdicts and labels, and when it will next."""
        return {
            "known": self._known,
            "warm_coefficients": self._warm_coefficients,
            "next_refit": np.array([self._next_refit], float),
        }

    def resume(self, fit: Mapping[str, Rows], warm_rows: Rows, warm_right: Rows) -> None:
        """Takes what `fit` gave, and the labels that were beside it, after `restore`. Raises ValueError for shapes."""
        if fit["known"].shape != self._known.shape or fit["warm_coefficients"].shape != self._warm_coefficients.shape:
            raise ValueError(f"a fit of {fit['known'].shape}")
        self.warm_rows, self.warm_right = warm_rows, warm_right
        self._known, self._coefficients = fit["known"].copy(), fit["known"][-1].copy()
        self._warm_coefficients, self._next_refit = fit["warm_coefficients"].copy(), int(fit["next_refit"][0])

    def restore(
        self,
        count: int,
        rows: NDArray[np.float32],
        right: NDArray[np.float32],
        weights: NDArray[np.float32],
        refit: bool = True,
    ) -> None:
        """Takes what `arrays` gave, of `count` verdicts in all, and refits. Raises ValueError for other shapes."""
        n = len(rows)
        if n != min(count, _KEEP) or len(right) != n or len(weights) != n:
            raise ValueError(f"{n} rows of {count} verdicts")
        order = (np.arange(n) + (count if count > _KEEP else 0)) % _KEEP
        self._rows[order], self._right[order], self._weights[order] = rows, right, weights
        self.count = count
        if refit and count >= _FIRST_REFITS:
            self._start()
        self._next_refit = max(_FIRST_REFITS, count + 1)

    def _start(self) -> None:
        self._coefficients = np.zeros_like(self._coefficients)
        for _ in range(_RESTORING):
            self._refit()

    def _refit(self) -> None:
        n, labels = min(self.count, _KEEP), len(self.warm_rows)
        rows = np.concatenate([self._rows[:n], self.warm_rows])
        right = np.concatenate([self._right[:n], self.warm_right])
        weights = np.concatenate([self._weights[:n], np.full(labels, min(1.0, _WARM_WORTH / max(labels, 1)))])
        penalty = np.full(rows.shape[1], _RIDGE)
        penalty[0] = 0.01
        for _ in range(_STEPS):
            p = _sigmoid(rows @ self._coefficients)
            gradient = rows.T @ (weights * (p - right)) + penalty * self._coefficients
            curvature = (rows * (weights * p * (1 - p))[:, None]).T @ rows + np.diag(penalty)
            step = np.linalg.solve(curvature, gradient)
            self._coefficients -= step * min(1.0, 4.0 / max(float(np.abs(step).max()), 1e-9))
        self._known = np.vstack([np.linalg.inv(curvature), self._coefficients])


def _sigmoid(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-np.clip(z, -30, 30)))
