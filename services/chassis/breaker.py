"""Stops asking what fails again and again, and finds out by itself when it is back."""

import random
import time

LIMIT = 12  # points in a row: many refused connections, or a few long silences
REFUSED, SILENT = 1, 4
_FIRST_S, _LONGEST_S = 0.25, 10.0


class Breaker:
    """Closed while things go well; open after LIMIT points of failure without a success between.

    As many answers that began well and broke off, without a whole one between, open it too.

    While open, one call at a time is let through as a probe, the first after about 0.25 s, then after twice as long
    each time, up to 10 s. A success closes it.
    """

    __slots__ = ("_backoff_s", "_broken", "_points", "_probe_at", "_probing_until", "is_open", "opened")

    def __init__(self) -> None:
        self.is_open = False
        self.opened = 0  # times, for metrics
        self._points = 0
        self._broken = 0
        self._backoff_s = _FIRST_S
        self._probe_at = 0.0
        self._probing_until = 0.0

    def admits(self, now: float) -> bool:
        """Whether a call may go at `now`, monotonic seconds; where it goes, say so with `begin`."""
        return not self.is_open or (now >= self._probe_at and now >= self._probing_until)

    def begin(self, now: float) -> None:
        """A call goes; while open it is the probe, for as long as it takes, but at most 10 s."""
        if self.is_open:
            self._probing_until = now + _LONGEST_S

    def succeeded(self) -> bool:
        """An answer came; whether that closed it."""
        was_open = self.is_open
        if was_open or self._points:
            self.is_open, self._points, self._backoff_s, self._probing_until = False, 0, _FIRST_S, 0.0
        return was_open

    def failed(self, points: int) -> bool:
        """A call failed; whether that opened it."""
        now = time.monotonic()
        if self.is_open:
            if self._probing_until > now:  # else a call from before it opened, which says nothing new
                self._backoff_s = min(2 * self._backoff_s, _LONGEST_S)
                self._wait(now)
            return False
        self._points += points
        if self._points < LIMIT:
            return False
        self._open(now)
        return True

    def broke_off(self) -> None:
        """An answer that had begun was not ended: a success that is taken back where it happens again and again."""
        self._broken += 1
        if self._broken >= LIMIT and not self.is_open:
            self._open(time.monotonic())

    def completed(self) -> None:
        """An answer was whole."""
        self._broken = 0

    def released(self) -> None:
        """A call ended without telling anything, so that another may be the probe."""
        self._probing_until = 0.0

    def hurry(self) -> None:
        """There is a sign that it is back: the next probe may go now, and those after it wait little again."""
        self._backoff_s, self._probe_at, self._probing_until = _FIRST_S, 0.0, 0.0

    def retry_after_s(self) -> float:
        """Seconds until the next probe may go, as far as is known; 0 where a call may go now."""
        now = time.monotonic()
        if self.admits(now):
            return 0.0
        return max(self._probe_at - now, min(self._probing_until - now, self._backoff_s), 0.05)

    def _open(self, now: float) -> None:
        self.is_open = True
        self.opened += 1
        self._wait(now)

    def _wait(self, now: float) -> None:
        self._probing_until = 0.0
        self._probe_at = now + self._backoff_s * random.uniform(0.5, 1.0)  # noqa: S311 - spreads callers, guards nothing
