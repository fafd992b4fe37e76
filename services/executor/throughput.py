"""How many tokens a second, lately."""

import time
from collections import deque

_WINDOW_S = 60.0


class Throughput:
    """Counts tokens of answers that ended within the last minute."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._ended: deque[tuple[float, int]] = deque()
        self._tokens = 0

    def add(self, tokens: int) -> None:
        """Notes an answer that ended."""
        self._ended.append((time.monotonic(), tokens))
        self._tokens += tokens
        self._forget()

    @property
    def tokens_per_second(self) -> float:
        """Over the last minute, or since the beginning where that is later."""
        self._forget()
        return self._tokens / min(_WINDOW_S, max(1.0, time.monotonic() - self._began))

    def _forget(self) -> None:
        while self._ended and self._ended[0][0] < time.monotonic() - _WINDOW_S:
            self._tokens -= self._ended.popleft()[1]
