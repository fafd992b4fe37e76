"""What may be asked of the cache and what it finds."""

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from services.cache.decision import MissReason
from services.cache.embedding import Embedding
from services.cache.entry import UNKNOWN, Answer, Entry, Partition, Provenance


@dataclass(frozen=True, slots=True)
class Query:
    """A prompt to look for, and for whom; without an embedding only the same text will do.

    `judges` says that the caller compares answers where it executes, so that checks may be asked of it; `again` that it
    was counted before, and has waited for a twin; `executes` that it makes an answer where it is served none.
    """

    partition: Partition
    text: str
    embedding: Embedding | None = None
    max_wrong_share: float | None = None
    max_age_ns: int | None = None
    principal: str = ""
    judges: bool = False
    again: bool = False
    executes: bool = True


@dataclass(frozen=True, slots=True)
class Submission:
    """An answer to keep; what is None or empty takes the settings' value or is left out."""

    partition: Partition
    text: str
    answer: Answer
    embedding: Embedding | None = None
    ttl_ns: int | None = None
    lookup_id: str = ""
    request_id: str = ""
    provenance: Provenance = UNKNOWN


class NotKept(Enum):
    """Why an answer was not kept, though nothing failed."""

    QUOTA = "quota"
    PERSONAL_DATA = "personal data"
    OUTLIVED = "outlived"


class MatchKind(Enum):
    """How an entry was found."""

    EXACT = "exact"
    SEMANTIC = "semantic"


class Hit(NamedTuple):
    """An answer to serve."""

    lookup_id: str
    entry: Entry
    kind: MatchKind
    probability: float
    similarity: float
    age_ns: int
    explanation: str


class Audit(NamedTuple):
    """An answer not to serve but to compare with the one that is made; see decision.Check."""

    lookup_id: str
    entry: Entry
    propensity: float
    would_be_hit: bool
    explanation: str


class Miss(NamedTuple):
    """Nothing to serve."""

    lookup_id: str
    reason: MissReason
    explanation: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Somebody executes the same or a twin: look again after the delay, with `lease_id` as what was waited for."""

    lease_id: str
    retry_after_s: float


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts since start, sizes now."""

    exact_hits: int
    semantic_hits: int
    misses: int
    entries: int
    bytes: int
    encoder_digest: str
    evictions: int
    saved_nano_usd: int
    audits: int
