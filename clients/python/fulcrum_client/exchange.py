"""One call with its attempts, free of any transport: when to try again, until when, and what came of it."""

import random
import time
from dataclasses import dataclass
from typing import Any

import grpc

from fulcrum_client.errors import CallError, DeadlineExceeded, error_from

_RETRIED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)


@dataclass(frozen=True)
class Retries:
    """How often a call is tried that failed before its first event; nothing is ever tried after it.

    UNAVAILABLE is retried after what the server says, or with growing pauses; RESOURCE_EXHAUSTED only where the server
    says when to come back.

    Args:
        attempts: most tries, the first included; 1 never retries.
        first_pause_s: mean pause before the second try where the server names none; doubles with each.
        longest_pause_s: a server that asks for a longer pause than this gets no retry but is reported.
    """

    attempts: int = 3
    first_pause_s: float = 0.1
    longest_pause_s: float = 10.0


class Exchange:
    """What both clients know of one call that is under way.

    Args:
        request_id: travels with every try.
        timeout_s: for all tries and pauses together.
        retries: how often.
    """

    def __init__(self, request_id: str, timeout_s: float, retries: Retries) -> None:
        self._retries = retries
        self._request_id = request_id
        self._deadline = time.monotonic() + timeout_s
        self._tries = 0
        self.answered = False  # set with the first event

    def begin(self) -> float:
        """Begins a try; seconds that it may take.

        Raises:
            DeadlineExceeded: nothing is left of the time.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            expected = "time enough for another try"
            raise DeadlineExceeded(
                grpc.StatusCode.DEADLINE_EXCEEDED, "the time is up", field="timeout_s", expected=expected
            )
        self._tries += 1
        return left

    def pause_after(self, failure: grpc.RpcError) -> float:
        """Seconds to wait before the next try after this failure.

        Raises:
            CallError: there is none; this is how the call ends.
        """
        error = self._error(failure)
        if self.answered or error.code not in _RETRIED or self._tries >= self._retries.attempts:
            raise error from failure
        pause = error.retry_after_s
        if pause is None and error.code is grpc.StatusCode.UNAVAILABLE:
            pause = self._own_pause()
        if pause is None or pause > self._retries.longest_pause_s or time.monotonic() + pause >= self._deadline:
            raise error from failure
        return pause

    def _own_pause(self) -> float:
        """Doubles with each try up to the longest, with jitter so that many callers do not come back as one."""
        mean = min(self._retries.first_pause_s * 2.0 ** (self._tries - 1), self._retries.longest_pause_s / 1.5)
        return mean * random.uniform(0.5, 1.5)  # noqa: S311 - jitter is no secret

    def _error(self, failure: Any) -> CallError:  # what both kinds of calls raise has these three, and no common type
        trailers = tuple(failure.trailing_metadata() or ())
        return error_from(failure.code(), failure.details() or "", trailers, self._request_id)
