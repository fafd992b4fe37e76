"""How likely a finished answer harms, by what was predicted before it was asked for and by how sure its model was."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LEAST = 1e-4  # of a loss, so that its logit is finite
_RIDGE = 1e-3
_STEPS = 50

REPEATS = 3  # more answers, whose agreement with the first tells how sure a model was


@dataclass(frozen=True, slots=True)
class Risk:
    """Logistic in the logit of the predicted loss and in how sure the model was, by the signal it was fitted on."""

    constant: float
    of_loss: float
    of_certainty: float

    def of(self, loss: NDArray[np.float64] | float, certainty: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Probabilities that answers are worse than the default's, in the shape that both broadcast to.

        Not a number where the certainty is not known.
        """
        found: NDArray[np.float64] = 1 / (
            1 + np.exp(-(self.constant + self.of_loss * _logit(loss) + self.of_certainty * np.asarray(certainty)))
        )
        return found


@dataclass(frozen=True, slots=True)
class Check:
    """What a cheap answer has to pass before it is served: its risk, given a predicted loss, is below a threshold.

    `expected_kept` is the share of such answers that pass. How sure the model was is told by the share of so many
    `repeats` that agree with its answer; where there are none, by the mean natural-log probability of its tokens.
    """

    risk: Risk
    loss: float
    threshold: float
    expected_kept: float
    repeats: int = 0

    def risk_of(self, certainty: float | None) -> float:
        """Of an answer; infinite where its certainty is not known."""
        if certainty is None or not math.isfinite(certainty):
            return math.inf
        return float(np.float32(self.risk.of(self.loss, certainty)))


def fit_risk(losses: NDArray[np.float64], certainty: NDArray[np.float64], harms: NDArray[np.bool_]) -> Risk:
    """By Newton's method on n answers, with a ridge that only keeps it finite; all are [n] and finite."""
    facts = np.stack([np.ones(len(losses)), _logit(losses), certainty], axis=1)
    weights = np.zeros(3)
    for _ in range(_STEPS):
        chances = 1 / (1 + np.exp(-np.clip(facts @ weights, -30, 30)))
        slope = facts.T @ (harms - chances) - _RIDGE * weights
        curvature = (facts * (chances * (1 - chances))[:, None]).T @ facts + _RIDGE * np.eye(3)
        step = np.linalg.solve(curvature, slope)
        weights = weights + step
        if np.abs(step).max() < 1e-9:
            break
    return Risk(*weights.tolist())


def _logit(loss: NDArray[np.float64] | float) -> NDArray[np.float64]:
    inside = np.clip(np.asarray(loss, np.float64), _LEAST, 1 - _LEAST)
    found: NDArray[np.float64] = np.log(inside / (1 - inside))
    return found
