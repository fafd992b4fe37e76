"""What callers may show a service that asks for keys: good keys, and everything that looks a little like one."""

import random
import string
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias

from services.chassis.key_file import KeyFile

Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))
_SHARE_GOOD = 0.6  # of the calls, so that what lies behind the door is reached too


@dataclass(frozen=True)
class Keys:
    """A file of keys: one that counts, an operator's, and one that was revoked."""

    path: Path
    good: str
    operator: str
    revoked: str

    @classmethod
    def make(cls, path: Path) -> "Keys":
        """Writes the file."""
        file = KeyFile(path)
        _, good = file.create("fuzz", "", False, None)
        _, operator = file.create("fuzz", "", True, None)
        key, revoked = file.create("fuzz", "", False, datetime.now(UTC) + timedelta(days=1))
        file.revoke(key.id)
        return cls(path, good, operator, revoked)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no log, status or metric may hold."""
        return tuple(token.split("_")[2] for token in (self.good, self.operator, self.revoked))

    def shown(self, rng: random.Random) -> Metadata:
        """What one caller shows: mostly a good key."""
        if rng.random() < _SHARE_GOOD:
            token = rng.choice((self.good, self.operator))
            return rng.choice(((("authorization", f"Bearer {token}"),), (("x-api-key", token),)))
        make: Callable[[random.Random], Metadata] = rng.choice(
            (self._nothing, self._bad_key, self._bad_key, self._bad_scheme, self._binary, self._oversize, self._several)
        )
        return make(rng)

    def _nothing(self, _: random.Random) -> Metadata:
        return ()

    def _bad_key(self, rng: random.Random) -> Metadata:
        """A key cut short, made longer, with a character changed, of another's id, or of no shape at all."""
        place = rng.randrange(len(self.good))
        token = rng.choice(
            (
                self.revoked,
                self.good[:place],
                self.good + rng.choice(string.ascii_lowercase),
                self.good[:place] + rng.choice("aB_ 0~") + self.good[place:],
                self.good.upper(),
                self.operator.rpartition("_")[0] + "_" + self.good.rpartition("_")[2],
                "fk_",
                "fk__",
                "_" * rng.randint(1, 300),
                "".join(rng.choices(_PRINTABLE, k=rng.randint(0, 100))),
            )
        ).strip()
        return rng.choice(((("authorization", f"Bearer {token}".strip()),), (("x-api-key", token),)))

    def _bad_scheme(self, rng: random.Random) -> Metadata:
        schemes = ("Basic ", "bearer", "Bearer", "Bearer  Bearer ", "Digest username=", "", "Bearer\x20,", "=?utf-8?b?")
        return (("authorization", rng.choice(schemes) + self.good),)

    def _binary(self, rng: random.Random) -> Metadata:
        name = rng.choice(("authorization-bin", "x-api-key-bin"))
        return ((name, rng.choice((rng.randbytes(rng.randint(0, 300)), self.good.encode(), b"Bearer \xff\xfe"))),)

    def _oversize(self, rng: random.Random) -> Metadata:
        return (("authorization", "Bearer " + self.good * rng.choice((20, 60, 120, 300))),)

    def _several(self, rng: random.Random) -> Metadata:
        names = rng.choices(("authorization", "x-api-key"), k=rng.randint(2, 5))
        return tuple((name, rng.choice((f"Bearer {self.good}", self.good, ""))) for name in names)
