"""What is kept: an answer, the prompt it answers, where it came from, and the partition that it never leaves."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, Protocol

from services.cache.normalise import normalise
from services.cache.sketch import Sketch, sketch


class Partition(NamedTuple):
    """Where an entry lives: one tenant, one digest of everything but the prompt that changes an answer."""

    tenant: str
    fingerprint: bytes


class Space(NamedTuple):
    """The vectors that may be compared with one another: those of one partition by one encoder, named by its digest."""

    partition: Partition
    encoder: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer; `cost_nano_usd` is None where unpriced."""

    text: str
    model: str
    input_tokens: int
    output_tokens: int
    cost_nano_usd: int | None


@dataclass(frozen=True, slots=True)
class Provenance:
    """Who caused an entry, by which request, and through which door ("edge", "import"); empty where unknown."""

    principal: str = ""
    request_id: str = ""
    source: str = ""


UNKNOWN = Provenance()


class Standing(IntEnum):
    """Whom an entry may be served to: in quarantine to its own principal alone, else to its whole tenant."""

    QUARANTINED = 0
    TRUSTED = 1
    CONFIRMED = 2


class Kept(Protocol):
    """What says whom an entry may be served to, and until when."""

    @property
    def principal(self) -> str:
        """Who caused it."""

    @property
    def create_ns(self) -> int:
        """When it was made."""

    @property
    def expire_ns(self) -> int | None:
        """When it ceases to serve."""

    @property
    def standing(self) -> Standing:
        """Whether it is out of quarantine."""


def serves(kept: Kept, principal: str, now_ns: int, max_age_ns: int | None) -> bool:
    """Whether it may be served to this principal: it has not expired, is young enough and out of quarantine."""
    return serving((kept,), principal, now_ns, max_age_ns)[0]


def serving(all_kept: Sequence[Kept | None], principal: str, now_ns: int, max_age_ns: int | None) -> list[bool]:
    """Whether each `serves`; what is None does not."""
    quarantined = Standing.QUARANTINED
    return [
        kept is not None
        and ((expire_ns := kept.expire_ns) is None or now_ns < expire_ns)
        and (max_age_ns is None or now_ns - kept.create_ns <= max_age_ns)
        and (kept.standing is not quarantined or principal == kept.principal)
        for kept in all_kept
    ]


@dataclass(frozen=True, slots=True)
class Entry:
    """One kept answer; times in nanoseconds since 1970, `expire_ns` None where it never expires.

    `encoder` is the digest of the one that its vector is of, empty where it has none.
    """

    sequence: int
    entry_id: str
    partition: Partition
    text: str
    answer: Answer
    create_ns: int
    expire_ns: int | None
    provenance: Provenance = UNKNOWN
    standing: Standing = Standing.TRUSTED
    size: int = 0
    hits: int = 0
    encoder: str = ""
    _sketch: Sketch | None = field(default=None, init=False, repr=False, compare=False)
    _meaning: int | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def principal(self) -> str:
        """Who caused it."""
        return self.provenance.principal

    @property
    def sketch(self) -> Sketch:
        """What decides its prompt's answer, worked out once."""
        known = self._sketch
        if known is None:
            known = sketch(self.text)
            object.__setattr__(self, "_sketch", known)
        return known

    @property
    def meaning(self) -> int:
        """A number that answers of one fingerprint share which are the same after normalising, worked out once.

        Another system prompt may make another thing of the same words, so that they share nothing there.
        """
        known = self._meaning
        if known is None:
            said = normalise(self.answer.text).encode(errors="surrogatepass")
            digest = hashlib.blake2b(said, digest_size=8, key=self.partition.fingerprint).digest()
            known = int.from_bytes(digest, "little", signed=True)
            object.__setattr__(self, "_meaning", known)
        return known


def meanings(entries: Sequence[Entry]) -> list[int]:
    """The `meaning` of each."""
    return [entry._meaning or entry.meaning for entry in entries]


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An entry about to be kept.

    Args:
        vector: its embedding as little-endian float32, None for exact matches only.
        request_id: makes a repeat of the store safe; another one than the provenance's, which names the caller's.
        entry_id: its id in the cache it was exported from, empty for one that is made here.
        hits: times it was served there.
        encoder: digest of the vector's, empty where there is none.
    """

    key: bytes
    partition: Partition
    text: str
    answer: Answer
    vector: bytes | None
    create_ns: int
    expire_ns: int | None
    request_id: str = ""
    provenance: Provenance = UNKNOWN
    standing: Standing = Standing.TRUSTED
    entry_id: str = ""
    hits: int = 0
    encoder: str = ""

    @property
    def size(self) -> int:
        """Bytes of prompt, answer and vector."""
        texts = len(self.text.encode()) + len(self.answer.text.encode())
        return texts + len(self.vector or b"")


@dataclass(frozen=True, slots=True)
class Selector:
    """Which entries of a tenant to remove; a condition that is None holds for every entry."""

    tenant: str
    entry_id: str | None = None
    fingerprint: bytes | None = None
    model: str | None = None
    created_before_ns: int | None = None
    created_from_ns: int | None = None
    principal: str | None = None
