"""What is kept: an answer, the prompt it answers, and the partition that it never leaves."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Partition:
    """Where an entry lives: one tenant, one digest of everything but the prompt that changes an answer."""

    tenant: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer; `cost_nano_usd` is None where unpriced."""

    text: str
    model: str
    input_tokens: int
    output_tokens: int
    cost_nano_usd: int | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One kept answer; times in nanoseconds since 1970, `expire_ns` None where it never expires."""

    sequence: int
    entry_id: str
    partition: Partition
    text: str
    answer: Answer
    create_ns: int
    expire_ns: int | None
    hits: int


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An entry about to be kept: `vector` is its embedding as little-endian float32, None for exact matches only."""

    key: bytes
    partition: Partition
    text: str
    answer: Answer
    vector: bytes | None
    create_ns: int
    expire_ns: int | None
    request_id: str

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
