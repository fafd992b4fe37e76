"""Names prompts in the log of outcomes and in a router's file, so that repeats are known as such."""

import os
import secrets
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.chassis.settings import ConfigError

_KEY_BYTES = 32


class PromptDigest:
    """Digests under one key; the same prompt of two tenants has two."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, tenant: str, text: str) -> str:
        """32 hexadecimal digits; casing and white space make no difference."""
        key = blake2b(tenant.encode("utf-8", "replace"), key=self._key).digest()
        return blake2b(_said(text), key=key, digest_size=16).hexdigest()


def digests(texts: Sequence[str]) -> NDArray[np.uint64]:
    """64 bits of each text [n], by which it is known again; casing and white space make no difference."""
    found = b"".join(blake2b(_said(text), digest_size=8).digest() for text in texts)
    return np.frombuffer(found, "<u8").astype(np.uint64)


def _said(text: str) -> bytes:
    return " ".join(text.split()).casefold().encode("utf-8", "replace")


def kept_key(log: Path) -> bytes:
    """The key beside a log, `<log>.key`, which its owner alone may read; made where there is none, by one process.

    Raises:
        ConfigError: it cannot be read or written, or is none.
    """
    path = log.with_name(log.name + ".key")
    try:
        if not path.exists():
            _make(path)
        key = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"router.outcome_log: {path}: cannot be used: {error.strerror}") from error
    if len(key) != _KEY_BYTES:
        raise ConfigError(f"router.outcome_log: {path}: got {len(key)} bytes, expected a key of {_KEY_BYTES}")
    return key


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(secrets.token_bytes(_KEY_BYTES))
    try:
        os.link(fresh, path)
    except FileExistsError:
        pass  # another process was first
    finally:
        fresh.unlink()
