"""The file of API keys: hashes alone, written whole or not at all, one writer at a time."""

import base64
import fcntl
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from services.chassis.errors import InvalidField, NotFound

PREFIX = "fk"
_ID_BYTES = 10  # 16 characters
_SECRET_BYTES = 32


class KeyFileError(Exception):
    """The file cannot be read, or is not one of keys; the message quotes nothing of it."""


class Key(BaseModel):
    """One API key as it is kept: what it may do and how long, and the SHA-256 of the whole key."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: Annotated[str, Field(pattern="^[a-z2-7]{16}$")]
    tenant: Annotated[str, Field(min_length=1, max_length=200)]
    name: Annotated[str, Field(max_length=200)] = ""
    operator: bool = False
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    create_time: AwareDatetime
    expire_time: AwareDatetime | None = None
    revoke_time: AwareDatetime | None = None

    def state(self, now: datetime) -> Literal["active", "expired", "revoked"]:
        """What the key counts for at `now`."""
        if self.revoke_time is not None and self.revoke_time <= now:
            return "revoked"
        return "expired" if self.expire_time is not None and self.expire_time <= now else "active"


class _Content(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    version: Literal[1] = 1
    keys: tuple[Key, ...] = ()


def digest(token: str) -> bytes:
    """SHA-256 of a whole key, 32 bytes: with 256 random bits inside, a slow hash would add nothing."""
    return hashlib.sha256(token.encode(errors="replace")).digest()


def id_of(token: str) -> str:
    """The id in a key; empty where the text has not a key's shape."""
    prefix, _, rest = token.partition("_")
    return rest.partition("_")[0] if prefix == PREFIX else ""


def read(path: Path) -> Mapping[str, Key]:
    """The keys by id.

    Raises:
        KeyFileError: see there.
    """
    try:
        content = _Content.model_validate_json(path.read_bytes())
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise KeyFileError(f"{path}: is not a file of keys: {where and where + ': '}{first['msg']}") from None
    keys = {key.id: key for key in content.keys}
    if len(keys) < len(content.keys):
        raise KeyFileError(f"{path}: is not a file of keys: an id twice")
    return keys


class KeyFile:
    """Makes and revokes the keys of one file; raises KeyFileError where there is one that cannot be read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def listed(self) -> list[Key]:
        """Every key, oldest first; none where there is no file yet."""
        return list(read(self._path).values()) if self._path.exists() else []

    def create(self, tenant: str, name: str, operator: bool, expire_time: datetime | None) -> tuple[Key, str]:
        """A new key and its text, which is kept nowhere.

        Raises:
            InvalidField: tenant or name is too long, or not printable.
        """
        for field, value, least in (("tenant", tenant, 1), ("name", name, 0)):
            if not least <= len(value) <= 200 or not value.isprintable() or value != value.strip():
                raise InvalidField(field, value, f"{least} to 200 printable characters, without space around them")
        identity = _random_word(_ID_BYTES)
        token = f"{PREFIX}_{identity}_{_random_word(_SECRET_BYTES)}"
        key = Key(
            id=identity,
            tenant=tenant,
            name=name,
            operator=operator,
            sha256=digest(token).hex(),
            create_time=_now(),
            expire_time=expire_time,
        )
        with self._locked():
            self._write([*self.listed(), key])
        return key, token

    def revoke(self, identity: str, at: datetime | None = None) -> Key:
        """Ends a key now, or at `at`; one that ends sooner already is left so.

        Raises:
            NotFound: there is no such key.
        """
        with self._locked():
            keys = {key.id: key for key in self.listed()}
            if identity not in keys:
                raise NotFound(
                    "key",
                    identity,
                    "an id that `fulcrum keys list` shows, or at least 4 characters that one begins with",
                )
            end, already = at or _now(), keys[identity].revoke_time
            changed = keys[identity].model_copy(update={"revoke_time": min(end, already) if already else end})
            self._write([changed if key.id == identity else key for key in keys.values()])
        return changed

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lock = self._path.with_name(f".{self._path.name}.lock")
        with os.fdopen(os.open(lock, os.O_CREAT | os.O_WRONLY, 0o600), "w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield

    def _write(self, keys: list[Key]) -> None:
        content = _Content(keys=tuple(keys)).model_dump_json(indent=2, exclude_none=True)
        fresh = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}")
        try:
            with os.fdopen(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
                self._keep_owner(file.fileno())
                file.write(content + "\n")
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
        finally:
            fresh.unlink(missing_ok=True)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name outlives a crash too: a revoked key must not come back
        finally:
            os.close(folder)

    def _keep_owner(self, fresh: int) -> None:
        """Owner, group and mode as before: a server that can read the file now can read the next one."""
        if not self._path.exists():
            return
        now, made = self._path.stat(), os.fstat(fresh)
        try:
            if (now.st_uid, now.st_gid) != (made.st_uid, made.st_gid):
                os.fchown(fresh, now.st_uid, now.st_gid)
            os.fchmod(fresh, stat.S_IMODE(now.st_mode))
        except OSError as error:
            owner = f"user {now.st_uid}, group {now.st_gid}"
            raise KeyFileError(f"{self._path}: its owner ({owner}) cannot be kept: {error.strerror}") from error


def _random_word(count: int) -> str:
    return base64.b32encode(secrets.token_bytes(count)).decode().rstrip("=").lower()


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
