"""Holds one answer to a JSON schema: which tokens may come next, as long as telling so stays cheap."""

import time

import numpy as np
from llguidance import LLMatcher
from numpy.typing import NDArray

from services.chassis.errors import InvalidField

FIELD = "sampling.response_format.json_schema"
_GRACE_S = 0.25  # of computing, for all of an answer, and
_STEP_S = 0.002  # a token: who needs more holds up all answers of a model


class Constraint:
    """Used from one thread at a time.

    Args:
        matcher: at its beginning, and nobody else's.
    """

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher
        self._left_s = _GRACE_S

    def forbid(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """A copy of logits `[vocabulary]` with minus infinity at tokens that may not come next.

        Raises:
            InvalidField: telling these tokens has become too costly.
        """
        begin = time.thread_time()
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._left_s += _STEP_S - (time.thread_time() - begin)
        if self._matcher.is_error() or self._left_s < 0:
            found = "one that became too costly in the course of an answer"
            raise InvalidField(FIELD, found, "a schema with fewer and simpler choices")
        allowed = np.zeros(len(logits), bool)
        known = np.unpackbits(bits, count=min(len(logits), 8 * len(bits)), bitorder="little")
        allowed[: len(known)] = known
        return np.where(allowed, logits, np.float32(-np.inf))

    def take(self, token: int) -> bool:
        """Notes the token that came; whether the answer is complete, so that nothing but its end may follow."""
        self._matcher.consume_token(token)
        return bool(self._matcher.is_stopped()) and not self._matcher.is_error()
