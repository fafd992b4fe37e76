"""One address of a backend: its channel, what is under way there, and whether it is worth asking."""

import time
from dataclasses import dataclass

import grpc
import structlog

from services.chassis.breaker import REFUSED, SILENT, Breaker
from services.chassis.status import is_elsewhere, is_unanswered


@dataclass(slots=True)
class Counts:
    """What a channel did so far, for metrics: calls, their further attempts, their failures, and calls not made."""

    calls: int = 0
    retries: int = 0
    failures: int = 0  # attempts that the backend failed, however the call ended
    refused: int = 0  # calls that failed at once, as every replica was set aside


class Replica:
    """One address.

    Args:
        backend: whose replica it is, for logs; empty logs nothing.
        address: where it is.
        channel: to that address alone.
        patience_s: silence of so many seconds counts as a timeout; less may be the caller's own hurry.
    """

    def __init__(self, backend: str, address: str, channel: grpc.aio.Channel, patience_s: float) -> None:
        self.address = address
        self.channel = channel
        self.breaker = Breaker()
        self.outstanding = 0
        self._backend = backend
        self._patience_s = patience_s
        self._was_connected = True
        self._log = structlog.get_logger("backend")

    def answered(self) -> None:
        """It said something."""
        if self.breaker.succeeded() and self._backend:
            self._log.info("replica is back", backend=self._backend, address=self.address)

    def failed(self, error: grpc.aio.AioRpcError, silent_s: float, replaceable: bool) -> bool:
        """Judges a call's status; true where it is the replica's failure.

        Args:
            error: the status.
            silent_s: how long the call went without an answer.
            replaceable: whether another replica could answer instead.
        """
        if is_elsewhere(error):
            self._count(REFUSED, error.code().name)
            return True
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and is_unanswered(error):
            return self.was_silent(silent_s, replaceable)
        self.answered()
        return False

    def was_silent(self, silent_s: float, replaceable: bool) -> bool:
        """Judges a call that ended without an answer; silence alone never sets the last replica aside."""
        if silent_s < self._patience_s or not (replaceable or self.breaker.is_open):
            self.breaker.released()
            return False
        self.timed_out()
        return True

    def timed_out(self) -> None:
        """It was silent for too long."""
        self._count(SILENT, "silence")

    def came_back(self) -> bool:
        """Whether it was set aside without a connection and has one since, so that it may be asked at once."""
        was, self._was_connected = self._was_connected, self._connected()
        if was or not self._was_connected:
            return False
        self.breaker.hurry()
        return True

    def _connected(self) -> bool:
        return self.channel.get_state() is grpc.ChannelConnectivity.READY

    def _count(self, points: int, why: str) -> None:
        if not self.breaker.failed(points):
            return
        self._was_connected = self._connected()
        if self._backend:
            retry_s = round(self.breaker.retry_after_s(), 3)
            self._log.warning(
                "replica set aside", backend=self._backend, address=self.address, why=why, retry_s=retry_s
            )


def pick(replicas: list[Replica], been: set[object] | None) -> Replica | None:
    """The replica to ask: one not asked yet for this call before others, then the one with the least under way.

    A replica that waits for its probe gets the call; None where all are set aside.
    """
    now = time.monotonic()
    best: Replica | None = None
    best_rank: tuple[bool, int] = (True, 0)
    for replica in replicas:
        if not replica.breaker.admits(now) and not replica.came_back():
            continue
        rank = (been is not None and replica in been, -1 if replica.breaker.is_open else replica.outstanding)
        if best is None or rank < best_rank:
            best, best_rank = replica, rank
    if best is None:
        return None
    best.breaker.begin(now)
    if been is not None:
        been.add(best)
    if len(replicas) > 1:  # ties go round
        replicas.append(replicas.pop(0))
    return best
