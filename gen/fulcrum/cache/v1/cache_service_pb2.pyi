import datetime

from buf.validate import validate_pb2 as _validate_pb2
from fulcrum.embedding.v1 import embedding_pb2 as _embedding_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MatchKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MATCH_KIND_UNSPECIFIED: _ClassVar[MatchKind]
    MATCH_KIND_EXACT: _ClassVar[MatchKind]
    MATCH_KIND_SEMANTIC: _ClassVar[MatchKind]

class MissReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MISS_REASON_UNSPECIFIED: _ClassVar[MissReason]
    MISS_REASON_EMPTY: _ClassVar[MissReason]
    MISS_REASON_NOT_EXACT: _ClassVar[MissReason]
    MISS_REASON_NOT_NEAR: _ClassVar[MissReason]
    MISS_REASON_VETOED: _ClassVar[MissReason]
    MISS_REASON_TRUNCATED: _ClassVar[MissReason]
    MISS_REASON_LANGUAGE: _ClassVar[MissReason]
    MISS_REASON_BRAKED: _ClassVar[MissReason]

class NotKept(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NOT_KEPT_UNSPECIFIED: _ClassVar[NotKept]
    NOT_KEPT_QUOTA: _ClassVar[NotKept]
    NOT_KEPT_PERSONAL_DATA: _ClassVar[NotKept]
    NOT_KEPT_OUTLIVED: _ClassVar[NotKept]

class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERDICT_UNSPECIFIED: _ClassVar[Verdict]
    VERDICT_RIGHT: _ClassVar[Verdict]
    VERDICT_WRONG: _ClassVar[Verdict]
    VERDICT_SAME: _ClassVar[Verdict]
    VERDICT_DIFFERENT: _ClassVar[Verdict]

class Standing(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STANDING_UNSPECIFIED: _ClassVar[Standing]
    STANDING_QUARANTINED: _ClassVar[Standing]
    STANDING_TRUSTED: _ClassVar[Standing]
    STANDING_CONFIRMED: _ClassVar[Standing]

class Brake(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BRAKE_UNSPECIFIED: _ClassVar[Brake]
    BRAKE_OFF: _ClassVar[Brake]
    BRAKE_UNTOLD: _ClassVar[Brake]
    BRAKE_WRONG: _ClassVar[Brake]

class VerifierStanding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERIFIER_STANDING_UNSPECIFIED: _ClassVar[VerifierStanding]
    VERIFIER_STANDING_NONE: _ClassVar[VerifierStanding]
    VERIFIER_STANDING_CHALLENGES: _ClassVar[VerifierStanding]
    VERIFIER_STANDING_DECIDES: _ClassVar[VerifierStanding]
MATCH_KIND_UNSPECIFIED: MatchKind
MATCH_KIND_EXACT: MatchKind
MATCH_KIND_SEMANTIC: MatchKind
MISS_REASON_UNSPECIFIED: MissReason
MISS_REASON_EMPTY: MissReason
MISS_REASON_NOT_EXACT: MissReason
MISS_REASON_NOT_NEAR: MissReason
MISS_REASON_VETOED: MissReason
MISS_REASON_TRUNCATED: MissReason
MISS_REASON_LANGUAGE: MissReason
MISS_REASON_BRAKED: MissReason
NOT_KEPT_UNSPECIFIED: NotKept
NOT_KEPT_QUOTA: NotKept
NOT_KEPT_PERSONAL_DATA: NotKept
NOT_KEPT_OUTLIVED: NotKept
VERDICT_UNSPECIFIED: Verdict
VERDICT_RIGHT: Verdict
VERDICT_WRONG: Verdict
VERDICT_SAME: Verdict
VERDICT_DIFFERENT: Verdict
STANDING_UNSPECIFIED: Standing
STANDING_QUARANTINED: Standing
STANDING_TRUSTED: Standing
STANDING_CONFIRMED: Standing
BRAKE_UNSPECIFIED: Brake
BRAKE_OFF: Brake
BRAKE_UNTOLD: Brake
BRAKE_WRONG: Brake
VERIFIER_STANDING_UNSPECIFIED: VerifierStanding
VERIFIER_STANDING_NONE: VerifierStanding
VERIFIER_STANDING_CHALLENGES: VerifierStanding
VERIFIER_STANDING_DECIDES: VerifierStanding

class Scope(_message.Message):
    __slots__ = ("tenant",)
    TENANT_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    def __init__(self, tenant: _Optional[str] = ...) -> None: ...

class LookupRequest(_message.Message):
    __slots__ = ("scope", "fingerprint", "text", "embedding", "max_wrong_share", "max_age", "judges", "lease", "principal", "waited_for", "only_if_cached")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    MAX_WRONG_SHARE_FIELD_NUMBER: _ClassVar[int]
    MAX_AGE_FIELD_NUMBER: _ClassVar[int]
    JUDGES_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    WAITED_FOR_FIELD_NUMBER: _ClassVar[int]
    ONLY_IF_CACHED_FIELD_NUMBER: _ClassVar[int]
    scope: Scope
    fingerprint: bytes
    text: str
    embedding: _embedding_pb2.Embedding
    max_wrong_share: float
    max_age: _duration_pb2.Duration
    judges: bool
    lease: bool
    principal: str
    waited_for: str
    only_if_cached: bool
    def __init__(self, scope: _Optional[_Union[Scope, _Mapping]] = ..., fingerprint: _Optional[bytes] = ..., text: _Optional[str] = ..., embedding: _Optional[_Union[_embedding_pb2.Embedding, _Mapping]] = ..., max_wrong_share: _Optional[float] = ..., max_age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., judges: _Optional[bool] = ..., lease: _Optional[bool] = ..., principal: _Optional[str] = ..., waited_for: _Optional[str] = ..., only_if_cached: _Optional[bool] = ...) -> None: ...

class LookupResponse(_message.Message):
    __slots__ = ("lookup_id", "hit", "miss", "audit", "wait", "lease_lapses_after")
    LOOKUP_ID_FIELD_NUMBER: _ClassVar[int]
    HIT_FIELD_NUMBER: _ClassVar[int]
    MISS_FIELD_NUMBER: _ClassVar[int]
    AUDIT_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    LEASE_LAPSES_AFTER_FIELD_NUMBER: _ClassVar[int]
    lookup_id: str
    hit: Hit
    miss: Miss
    audit: Audit
    wait: Wait
    lease_lapses_after: _duration_pb2.Duration
    def __init__(self, lookup_id: _Optional[str] = ..., hit: _Optional[_Union[Hit, _Mapping]] = ..., miss: _Optional[_Union[Miss, _Mapping]] = ..., audit: _Optional[_Union[Audit, _Mapping]] = ..., wait: _Optional[_Union[Wait, _Mapping]] = ..., lease_lapses_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Hit(_message.Message):
    __slots__ = ("answer", "kind", "probability", "similarity", "entry_id", "age", "explanation")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    AGE_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    answer: Answer
    kind: MatchKind
    probability: float
    similarity: float
    entry_id: str
    age: _duration_pb2.Duration
    explanation: str
    def __init__(self, answer: _Optional[_Union[Answer, _Mapping]] = ..., kind: _Optional[_Union[MatchKind, str]] = ..., probability: _Optional[float] = ..., similarity: _Optional[float] = ..., entry_id: _Optional[str] = ..., age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., explanation: _Optional[str] = ...) -> None: ...

class Miss(_message.Message):
    __slots__ = ("reason", "explanation", "lease_id")
    REASON_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    reason: MissReason
    explanation: str
    lease_id: str
    def __init__(self, reason: _Optional[_Union[MissReason, str]] = ..., explanation: _Optional[str] = ..., lease_id: _Optional[str] = ...) -> None: ...

class Audit(_message.Message):
    __slots__ = ("answer", "propensity", "entry_id", "would_be_hit", "explanation", "lease_id")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    PROPENSITY_FIELD_NUMBER: _ClassVar[int]
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    WOULD_BE_HIT_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    answer: Answer
    propensity: float
    entry_id: str
    would_be_hit: bool
    explanation: str
    lease_id: str
    def __init__(self, answer: _Optional[_Union[Answer, _Mapping]] = ..., propensity: _Optional[float] = ..., entry_id: _Optional[str] = ..., would_be_hit: _Optional[bool] = ..., explanation: _Optional[str] = ..., lease_id: _Optional[str] = ...) -> None: ...

class Wait(_message.Message):
    __slots__ = ("lease_id", "retry_after")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    retry_after: _duration_pb2.Duration
    def __init__(self, lease_id: _Optional[str] = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("text", "model", "input_tokens", "output_tokens", "cost_nano_usd", "create_time")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    text: str
    model: str
    input_tokens: int
    output_tokens: int
    cost_nano_usd: int
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, text: _Optional[str] = ..., model: _Optional[str] = ..., input_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., cost_nano_usd: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class StoreRequest(_message.Message):
    __slots__ = ("scope", "fingerprint", "text", "embedding", "answer", "ttl", "lookup_id", "request_id", "principal", "caused_by", "source")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    LOOKUP_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    CAUSED_BY_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    scope: Scope
    fingerprint: bytes
    text: str
    embedding: _embedding_pb2.Embedding
    answer: Answer
    ttl: _duration_pb2.Duration
    lookup_id: str
    request_id: str
    principal: str
    caused_by: str
    source: str
    def __init__(self, scope: _Optional[_Union[Scope, _Mapping]] = ..., fingerprint: _Optional[bytes] = ..., text: _Optional[str] = ..., embedding: _Optional[_Union[_embedding_pb2.Embedding, _Mapping]] = ..., answer: _Optional[_Union[Answer, _Mapping]] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., lookup_id: _Optional[str] = ..., request_id: _Optional[str] = ..., principal: _Optional[str] = ..., caused_by: _Optional[str] = ..., source: _Optional[str] = ...) -> None: ...

class StoreResponse(_message.Message):
    __slots__ = ("entry_id", "not_kept")
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    NOT_KEPT_FIELD_NUMBER: _ClassVar[int]
    entry_id: str
    not_kept: NotKept
    def __init__(self, entry_id: _Optional[str] = ..., not_kept: _Optional[_Union[NotKept, str]] = ...) -> None: ...

class FeedbackRequest(_message.Message):
    __slots__ = ("scope", "lookup_id", "verdict", "source", "principal")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    LOOKUP_ID_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    scope: Scope
    lookup_id: str
    verdict: Verdict
    source: str
    principal: str
    def __init__(self, scope: _Optional[_Union[Scope, _Mapping]] = ..., lookup_id: _Optional[str] = ..., verdict: _Optional[_Union[Verdict, str]] = ..., source: _Optional[str] = ..., principal: _Optional[str] = ...) -> None: ...

class FeedbackResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class InvalidateRequest(_message.Message):
    __slots__ = ("scope", "entry_id", "fingerprint", "model", "created_before", "all", "principal", "created_from")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CREATED_BEFORE_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    CREATED_FROM_FIELD_NUMBER: _ClassVar[int]
    scope: Scope
    entry_id: str
    fingerprint: bytes
    model: str
    created_before: _timestamp_pb2.Timestamp
    all: bool
    principal: str
    created_from: _timestamp_pb2.Timestamp
    def __init__(self, scope: _Optional[_Union[Scope, _Mapping]] = ..., entry_id: _Optional[str] = ..., fingerprint: _Optional[bytes] = ..., model: _Optional[str] = ..., created_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., all: _Optional[bool] = ..., principal: _Optional[str] = ..., created_from: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class InvalidateResponse(_message.Message):
    __slots__ = ("removed",)
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    removed: int
    def __init__(self, removed: _Optional[int] = ...) -> None: ...

class ListEntriesRequest(_message.Message):
    __slots__ = ("scope", "page_size", "page_token")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    scope: Scope
    page_size: int
    page_token: str
    def __init__(self, scope: _Optional[_Union[Scope, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListEntriesResponse(_message.Message):
    __slots__ = ("entries", "next_page_token")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    next_page_token: str
    def __init__(self, entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("entry_id", "text", "fingerprint", "model", "create_time", "expire_time", "hits", "principal", "caused_by", "source", "standing", "size_bytes")
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    HITS_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    CAUSED_BY_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    STANDING_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    entry_id: str
    text: str
    fingerprint: bytes
    model: str
    create_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    hits: int
    principal: str
    caused_by: str
    source: str
    standing: Standing
    size_bytes: int
    def __init__(self, entry_id: _Optional[str] = ..., text: _Optional[str] = ..., fingerprint: _Optional[bytes] = ..., model: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., hits: _Optional[int] = ..., principal: _Optional[str] = ..., caused_by: _Optional[str] = ..., source: _Optional[str] = ..., standing: _Optional[_Union[Standing, str]] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class StatsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatsResponse(_message.Message):
    __slots__ = ("exact_hits", "semantic_hits", "misses", "audits", "entries", "bytes", "encoder_digest", "evictions", "saved_nano_usd", "promises")
    EXACT_HITS_FIELD_NUMBER: _ClassVar[int]
    SEMANTIC_HITS_FIELD_NUMBER: _ClassVar[int]
    MISSES_FIELD_NUMBER: _ClassVar[int]
    AUDITS_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    ENCODER_DIGEST_FIELD_NUMBER: _ClassVar[int]
    EVICTIONS_FIELD_NUMBER: _ClassVar[int]
    SAVED_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    PROMISES_FIELD_NUMBER: _ClassVar[int]
    exact_hits: int
    semantic_hits: int
    misses: int
    audits: int
    entries: int
    bytes: int
    encoder_digest: str
    evictions: int
    saved_nano_usd: int
    promises: _containers.RepeatedCompositeFieldContainer[Promise]
    def __init__(self, exact_hits: _Optional[int] = ..., semantic_hits: _Optional[int] = ..., misses: _Optional[int] = ..., audits: _Optional[int] = ..., entries: _Optional[int] = ..., bytes: _Optional[int] = ..., encoder_digest: _Optional[str] = ..., evictions: _Optional[int] = ..., saved_nano_usd: _Optional[int] = ..., promises: _Optional[_Iterable[_Union[Promise, _Mapping]]] = ...) -> None: ...

class Promise(_message.Message):
    __slots__ = ("tenant", "requests", "served", "audits", "audits_wrong", "realised", "certified", "allowed", "encoder_digest", "verifier", "verifier_stake", "brake")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    SERVED_FIELD_NUMBER: _ClassVar[int]
    AUDITS_FIELD_NUMBER: _ClassVar[int]
    AUDITS_WRONG_FIELD_NUMBER: _ClassVar[int]
    REALISED_FIELD_NUMBER: _ClassVar[int]
    CERTIFIED_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    ENCODER_DIGEST_FIELD_NUMBER: _ClassVar[int]
    VERIFIER_FIELD_NUMBER: _ClassVar[int]
    VERIFIER_STAKE_FIELD_NUMBER: _ClassVar[int]
    BRAKE_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    requests: int
    served: int
    audits: int
    audits_wrong: int
    realised: float
    certified: float
    allowed: float
    encoder_digest: str
    verifier: VerifierStanding
    verifier_stake: float
    brake: Brake
    def __init__(self, tenant: _Optional[str] = ..., requests: _Optional[int] = ..., served: _Optional[int] = ..., audits: _Optional[int] = ..., audits_wrong: _Optional[int] = ..., realised: _Optional[float] = ..., certified: _Optional[float] = ..., allowed: _Optional[float] = ..., encoder_digest: _Optional[str] = ..., verifier: _Optional[_Union[VerifierStanding, str]] = ..., verifier_stake: _Optional[float] = ..., brake: _Optional[_Union[Brake, str]] = ...) -> None: ...

class StoredEntry(_message.Message):
    __slots__ = ("scope", "entry", "answer", "embedding")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    scope: Scope
    entry: Entry
    answer: Answer
    embedding: _embedding_pb2.Embedding
    def __init__(self, scope: _Optional[_Union[Scope, _Mapping]] = ..., entry: _Optional[_Union[Entry, _Mapping]] = ..., answer: _Optional[_Union[Answer, _Mapping]] = ..., embedding: _Optional[_Union[_embedding_pb2.Embedding, _Mapping]] = ...) -> None: ...

class GetEntryRequest(_message.Message):
    __slots__ = ("scope", "entry_id")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    scope: Scope
    entry_id: str
    def __init__(self, scope: _Optional[_Union[Scope, _Mapping]] = ..., entry_id: _Optional[str] = ...) -> None: ...

class GetEntryResponse(_message.Message):
    __slots__ = ("entry",)
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    entry: StoredEntry
    def __init__(self, entry: _Optional[_Union[StoredEntry, _Mapping]] = ...) -> None: ...

class ExportEntriesRequest(_message.Message):
    __slots__ = ("tenant", "without_encoder_digest", "page_size", "page_token")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_ENCODER_DIGEST_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    without_encoder_digest: str
    page_size: int
    page_token: str
    def __init__(self, tenant: _Optional[str] = ..., without_encoder_digest: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ExportEntriesResponse(_message.Message):
    __slots__ = ("entries", "next_page_token")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[StoredEntry]
    next_page_token: str
    def __init__(self, entries: _Optional[_Iterable[_Union[StoredEntry, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ImportEntriesRequest(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[StoredEntry]
    def __init__(self, entries: _Optional[_Iterable[_Union[StoredEntry, _Mapping]]] = ...) -> None: ...

class ImportEntriesResponse(_message.Message):
    __slots__ = ("imported", "present", "personal_data")
    IMPORTED_FIELD_NUMBER: _ClassVar[int]
    PRESENT_FIELD_NUMBER: _ClassVar[int]
    PERSONAL_DATA_FIELD_NUMBER: _ClassVar[int]
    imported: int
    present: int
    personal_data: int
    def __init__(self, imported: _Optional[int] = ..., present: _Optional[int] = ..., personal_data: _Optional[int] = ...) -> None: ...

class EmbedEntriesRequest(_message.Message):
    __slots__ = ("vectors",)
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    vectors: _containers.RepeatedCompositeFieldContainer[EntryVector]
    def __init__(self, vectors: _Optional[_Iterable[_Union[EntryVector, _Mapping]]] = ...) -> None: ...

class EntryVector(_message.Message):
    __slots__ = ("scope", "entry_id", "embedding")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    scope: Scope
    entry_id: str
    embedding: _embedding_pb2.Embedding
    def __init__(self, scope: _Optional[_Union[Scope, _Mapping]] = ..., entry_id: _Optional[str] = ..., embedding: _Optional[_Union[_embedding_pb2.Embedding, _Mapping]] = ...) -> None: ...

class EmbedEntriesResponse(_message.Message):
    __slots__ = ("embedded", "left")
    EMBEDDED_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    embedded: int
    left: int
    def __init__(self, embedded: _Optional[int] = ..., left: _Optional[int] = ...) -> None: ...

class HoldLeaseRequest(_message.Message):
    __slots__ = ("scope", "lease_id", "end")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    scope: Scope
    lease_id: str
    end: bool
    def __init__(self, scope: _Optional[_Union[Scope, _Mapping]] = ..., lease_id: _Optional[str] = ..., end: _Optional[bool] = ...) -> None: ...

class HoldLeaseResponse(_message.Message):
    __slots__ = ("held",)
    HELD_FIELD_NUMBER: _ClassVar[int]
    held: bool
    def __init__(self, held: _Optional[bool] = ...) -> None: ...

class WarmUpRequest(_message.Message):
    __slots__ = ("scope", "encoder_digest", "examples")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    ENCODER_DIGEST_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    scope: Scope
    encoder_digest: str
    examples: _containers.RepeatedCompositeFieldContainer[Example]
    def __init__(self, scope: _Optional[_Union[Scope, _Mapping]] = ..., encoder_digest: _Optional[str] = ..., examples: _Optional[_Iterable[_Union[Example, _Mapping]]] = ...) -> None: ...

class Example(_message.Message):
    __slots__ = ("text", "answer", "nearest")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    NEAREST_FIELD_NUMBER: _ClassVar[int]
    text: str
    answer: int
    nearest: _containers.RepeatedCompositeFieldContainer[ExampleNeighbour]
    def __init__(self, text: _Optional[str] = ..., answer: _Optional[int] = ..., nearest: _Optional[_Iterable[_Union[ExampleNeighbour, _Mapping]]] = ...) -> None: ...

class ExampleNeighbour(_message.Message):
    __slots__ = ("example", "similarity", "verdict")
    EXAMPLE_FIELD_NUMBER: _ClassVar[int]
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    example: int
    similarity: float
    verdict: Verdict
    def __init__(self, example: _Optional[int] = ..., similarity: _Optional[float] = ..., verdict: _Optional[_Union[Verdict, str]] = ...) -> None: ...

class WarmUpResponse(_message.Message):
    __slots__ = ("labels", "labels_right", "verifier_pairs")
    LABELS_FIELD_NUMBER: _ClassVar[int]
    LABELS_RIGHT_FIELD_NUMBER: _ClassVar[int]
    VERIFIER_PAIRS_FIELD_NUMBER: _ClassVar[int]
    labels: int
    labels_right: int
    verifier_pairs: int
    def __init__(self, labels: _Optional[int] = ..., labels_right: _Optional[int] = ..., verifier_pairs: _Optional[int] = ...) -> None: ...
