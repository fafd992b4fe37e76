"""How fast models were lately, for routes that time decides."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from services.edge.ports import Speed

_WEIGHT = 0.1  # of one more answer in the moving means
_KNOWN_AFTER, _LEAST_TOKENS = 5, 8  # answers; tokens from which an answer tells a rate
_KNOWN_FOR_S = 300.0  # after the last answer: a model that was too slow to be asked since may be quick again


@dataclass(slots=True)
class _Means:
    answers: int = 0
    first_token_s: float = 0.0
    token_s: float = 0.0
    last: float = 0.0


class Speeds:
    """Moving means by model; names are the catalogue's, so they are few."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._means: dict[str, _Means] = {}

    def note(self, model: str, first_token_s: float, total_s: float, output_tokens: int) -> None:
        """One more answer; one too short to tell a rate is passed over."""
        if output_tokens < _LEAST_TOKENS:
            return
        now, means = self._clock(), self._means.get(model)
        if means is None or now > means.last + _KNOWN_FOR_S:
            means = self._means[model] = _Means()
        means.last = now
        means.answers += 1
        weight = max(_WEIGHT, 1 / means.answers)
        means.first_token_s += weight * (first_token_s - means.first_token_s)
        means.token_s += weight * ((total_s - first_token_s) / output_tokens - means.token_s)

    def known(self) -> Mapping[str, Speed]:
        """Of the models that have answered often enough, and lately."""
        since = self._clock() - _KNOWN_FOR_S
        return {
            model: Speed(means.first_token_s, 1 / max(means.token_s, 1e-6))
            for model, means in self._means.items()
            if means.answers >= _KNOWN_AFTER and means.last >= since
        }
