"""Chooses the next token from logits: greedy, or drawn after temperature, top-k and top-p, repeatably for a seed."""

import numpy as np
from numpy.typing import NDArray

from services.executor.constraint import Constraint
from services.executor.engine import Sampling

Logits = NDArray[np.float32]
Logprobs = NDArray[np.float64]
LEAST_TEMPERATURE = 1e-6  # below it only ties could differ from the likeliest, and quotients overflow


class Sampler:
    """One answer's choices. Equal seeds and equal logits give equal tokens; without a seed each sampler differs.

    Args:
        sampling: how to choose.
        constraint: what may be chosen; anything where None.
    """

    def __init__(self, sampling: Sampling, constraint: Constraint | None = None) -> None:
        self._temperature = sampling.temperature or 0.0
        self._greedy = self._temperature < LEAST_TEMPERATURE
        self._top_k = sampling.top_k
        self._top_p = sampling.top_p
        self._random = np.random.default_rng(sampling.seed)
        self._constraint = constraint

    @property
    def takes_likeliest(self) -> bool:
        """Whether the choice is the likeliest token, whatever it is."""
        return self._greedy and self._constraint is None

    def choose(self, logits: Logits) -> tuple[int, float]:
        """The next token and its natural-log probability under the model itself, from logits `[vocabulary]`.

        Raises:
            InvalidField: what may be chosen has become too costly to tell.
        """
        logprobs = log_softmax(logits)
        allowed = self._constraint.forbid(logits) if self._constraint else logits
        token = int(np.argmax(allowed)) if self._greedy else self._draw(allowed)
        return token, float(logprobs[token])

    def _draw(self, logits: Logits) -> int:
        tokens, probabilities = candidates(logits, self._temperature, self._top_k, self._top_p)
        index = np.searchsorted(np.cumsum(probabilities), self._random.random() * probabilities.sum(), side="right")
        return int(tokens[min(int(index), len(tokens) - 1)])


def likeliest(logits: Logits) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The likeliest token of each row of logits `[rows, vocabulary]` and its natural-log probability, in float32."""
    tokens = logits.argmax(axis=1)
    best = logits[np.arange(len(logits)), tokens]
    return tokens, -np.log(np.exp(logits - best[:, None]).sum(axis=1))


def top(logits: Logits, count: int) -> list[tuple[int, float]]:
    """The `count` likeliest tokens and their natural-log probabilities, likeliest first; ties go to the lower token."""
    if not count:
        return []
    logprobs = log_softmax(logits)
    found = (
        np.flatnonzero(logits >= np.partition(logits, -count)[-count])
        if count < len(logits)
        else np.arange(len(logits))
    )
    order = found[np.argsort(-logits[found], kind="stable")][:count]
    return [(int(token), float(logprobs[token])) for token in order]


def candidates(
    logits: Logits, temperature: float, top_k: int | None, top_p: float | None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The tokens that may be drawn and their probabilities, which sum to 1.

    Temperature comes first, then the `top_k` likeliest, then the smallest set of these whose share reaches `top_p`
    (Holtzman et al. 2020). Ties go to the lower token.
    """
    order = np.arange(len(logits))
    if top_k is not None or top_p is not None:
        order = np.argsort(-logits, kind="stable")[:top_k]
    probabilities = np.exp(log_softmax(logits[order] / np.float64(temperature)))
    if top_p is not None:
        kept = int(np.searchsorted(np.cumsum(probabilities), top_p)) + 1
        order, probabilities = order[:kept], probabilities[:kept]
    return order, probabilities / probabilities.sum()


def log_softmax(values: NDArray[np.floating]) -> Logprobs:
    """Natural-log probabilities in float64."""
    shifted = values.astype(np.float64) - values.max()
    result: Logprobs = shifted - np.log(np.exp(shifted).sum())
    return result
