"""How likely a finished answer harms, by what was predicted before it was asked for and by how sure its model was."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LEAST = 1e-4  # of a loss, so that its logit is finite
_RIDGE = 1e-3
_STEPS = 50


@dataclass(frozen=True, slots=True)
class Risk:
    """Logistic in the logit of the predicted loss and the mean natural-log probability of the answer's tokens."""

    constant: float
    of_loss: float
    of_certainty: float

    def of(self, loss: NDArray[np.float64] | float, mean_logprob: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Probabilities that answers are worse than the default's, in the shape that both broadcast to.

        Not a number where the certainty is not known.
        """
        found: NDArray[np.float64] = 1 / (
            1 + np.exp(-(self.constant + self.of_loss * _logit(loss) + self.of_certainty * np.asarray(mean_logprob)))
        )
        return found


@dataclass(frozen=True, slots=True)
class Check:
    """What a cheap answer has to pass before it is served: its risk, given a predicted loss, is below a threshold.

    `expected_kept` is the share of such answers that pass.
    """

    risk: Risk
    loss: float
    threshold: float
    expected_kept: float

    def risk_of(self, mean_logprob: float | None) -> float:
        """Of an answer; infinite where its certainty is not known."""
        if mean_logprob is None or not math.isfinite(mean_logprob):
            return math.inf
        return float(np.float32(self.risk.of(self.loss, mean_logprob)))


def fit_risk(losses: NDArray[np.float64], mean_logprobs: NDArray[np.float64], harms: NDArray[np.bool_]) -> Risk:
    """By Newton's method on n answers, with a ridge that only keeps it finite; all are [n] and finite."""
    facts = np.stack([np.ones(len(losses)), _logit(losses), mean_logprobs], axis=1)
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
