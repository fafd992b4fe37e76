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
from services.chassis.errors import Unauthenticated, Unavailable
from services.chassis.file_stamp import stamp
from services.chassis.settings import ConfigError

_LOOK_EVERY_S = 0.5  # a revoked key counts for no longer than this
_LAST_GOOD_S = 60.0  # that the last good keys stay in force while the file cannot be read


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
        path: the file; one that turns bad while the server runs leaves the last good keys in force for a minute, and
            is logged. Then no key counts until it is good again: one of them may have been revoked.
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
        self._bad_since: float | None = None
        try:
            self._known = _known(path)
        except key_file.KeyFileError as error:
            raise ConfigError(f"server.identity.keys: {error}; `fulcrum keys create` makes one") from error

    def caller(self, token: str, field: str) -> Caller:
        """Whom a key stands for; `field` says where it was found.

        Raises:
            Unauthenticated: the key is unknown, revoked or expired.
            Unavailable: the file could not be read for too long.
        """
        self._look()
        if self._bad_since is not None and time.monotonic() - self._bad_since > _LAST_GOOD_S:
            expected = "a file of keys that can be read; the server's log has why not"
            raise Unavailable("server.identity.keys", "unreadable", expected, retry_after_s=_LOOK_EVERY_S)
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
        if seen == self._seen and self._bad_since is None:
            return
        try:
            self._known = _known(self._path)
        except key_file.KeyFileError as error:
            if seen != self._seen:
                problem, seconds = str(error), _LAST_GOOD_S
                self._log.error("keys not reloaded, the last good ones stay for a while", problem=problem, s=seconds)
            self._bad_since = self._bad_since or now
        else:
            self._bad_since = None
            self._log.info("keys reloaded", keys=len(self._known))
        self._seen = seen


def _known(path: Path) -> Mapping[str, _Known]:
    try:
        written_s = math.ceil(path.stat().st_mtime)
    except OSError:
        written_s = 0  # what reads it next says why
    return {
        key.id: _Known(
            bytes.fromhex(key.sha256),
            Caller(key.tenant, f"key {key.id}", key.operator),
            _revoked(_seconds(key.revoke_time), written_s),
            _seconds(key.expire_time),
        )
        for key in key_file.read(path).values()
    }


def _seconds(time_: datetime | None) -> float:
    return math.inf if time_ is None else time_.timestamp()


def _revoked(revoke_s: float, written_s: float) -> float:
    """When a revocation begins; one for no later than the file was written has, whatever this machine's clock says."""
    return 0.0 if revoke_s <= written_s else revoke_s


def _refused(field: str, value: str, expected: str) -> Unauthenticated:
    return Unauthenticated(field, value, expected, reason="CREDENTIALS_INVALID")
