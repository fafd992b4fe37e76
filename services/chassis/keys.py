"""Which caller an API key stands for, compared in constant time, from a file that is read again when it changes."""

import hmac
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog

from services.chassis import key_file
from services.chassis.call import Caller
from services.chassis.errors import Unauthenticated
from services.chassis.file_stamp import stamp
from services.chassis.settings import ConfigError

_LOOK_EVERY_S = 0.5  # a revoked key counts for no longer than this


@dataclass(frozen=True, slots=True)
class _Known:
    digest: bytes
    caller: Caller
    revoke_s: float
    expire_s: float


_NOBODY = _Known(bytes(32), Caller("", "", False), 0.0, 0.0)  # so that an unknown id costs what a wrong secret costs


class KeyRing:
    """The keys of one file.

    Args:
        path: the file; one that turns bad while the server runs leaves the last good keys in force, and is logged.
        clock: seconds since 1970.

    Raises:
        ConfigError: the file cannot be read at the start.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._log = structlog.get_logger("identity")
        self._seen = stamp([path])
        self._look_at = 0.0
        try:
            self._known = _known(path)
        except key_file.KeyFileError as error:
            raise ConfigError(f"server.identity.keys: {error}; `fulcrum keys create` makes one") from error

    def caller(self, token: str, field: str) -> Caller:
        """Whom a key stands for; `field` says where it was found.

        Raises:
            Unauthenticated: the key is unknown, revoked or expired.
        """
        self._look()
        known = self._known.get(key_file.id_of(token), _NOBODY)
        if not hmac.compare_digest(key_file.digest(token), known.digest):
            raise _refused(field, "an unknown key", "a key that `fulcrum keys create` made")
        now = self._clock()
        if now >= known.revoke_s:
            raise _refused(field, known.caller.principal, "a key that is not revoked")
        if now >= known.expire_s:
            raise _refused(field, known.caller.principal, "a key that has not expired")
        return known.caller

    def _look(self) -> None:
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_EVERY_S
        seen = stamp([self._path])
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._known = _known(self._path)
        except key_file.KeyFileError as error:
            self._log.error("keys not reloaded, the last good ones stay", problem=str(error))
        else:
            self._log.info("keys reloaded", keys=len(self._known))


def _known(path: Path) -> Mapping[str, _Known]:
    return {
        key.id: _Known(
            bytes.fromhex(key.sha256),
            Caller(key.tenant, f"key {key.id}", key.operator),
            _seconds(key.revoke_time),
            _seconds(key.expire_time),
        )
        for key in key_file.read(path).values()
    }


def _seconds(time_: datetime | None) -> float:
    return math.inf if time_ is None else time_.timestamp()


def _refused(field: str, value: str, expected: str) -> Unauthenticated:
    return Unauthenticated(field, value, expected, reason="CREDENTIALS_INVALID")
