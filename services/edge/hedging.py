"""How long to wait for a model's first event before asking another replica as well."""

from collections import deque

_UNKNOWN_S, _FLOOR_S = 1.0, 0.05
_KNOWN_AFTER, _KEPT, _AGAIN_AFTER = 20, 200, 20


class FirstEventTimes:
    """One model's recent times to its first event; `hedge_after_s` is their 95th percentile, so that few are hedged."""

    def __init__(self) -> None:
        self.hedge_after_s = _UNKNOWN_S
        self._recent: deque[float] = deque(maxlen=_KEPT)
        self._new = 0

    def add(self, seconds: float) -> None:
        """One more time; of a try that was given up, the time it was silent."""
        self._recent.append(seconds)
        self._new += 1
        if self._new >= _AGAIN_AFTER and len(self._recent) >= _KNOWN_AFTER:
            self._new = 0
            self.hedge_after_s = max(_FLOOR_S, sorted(self._recent)[int(len(self._recent) * 0.95)])
