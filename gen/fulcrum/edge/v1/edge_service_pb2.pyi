import datetime

from buf.validate import validate_pb2 as _validate_pb2
from fulcrum.edge.v1 import receipt_pb2 as _receipt_pb2
from fulcrum.executor.v1 import chat_pb2 as _chat_pb2
from fulcrum.executor.v1 import executor_service_pb2 as _executor_service_pb2
from fulcrum.router.v1 import objective_pb2 as _objective_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class UsageDimension(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    USAGE_DIMENSION_UNSPECIFIED: _ClassVar[UsageDimension]
    USAGE_DIMENSION_TENANT: _ClassVar[UsageDimension]
    USAGE_DIMENSION_MODEL: _ClassVar[UsageDimension]
    USAGE_DIMENSION_DAY: _ClassVar[UsageDimension]

class UnansweredKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNANSWERED_KIND_UNSPECIFIED: _ClassVar[UnansweredKind]
    UNANSWERED_KIND_CANCELLED: _ClassVar[UnansweredKind]
    UNANSWERED_KIND_FAILED: _ClassVar[UnansweredKind]
    UNANSWERED_KIND_INTERRUPTED: _ClassVar[UnansweredKind]
    UNANSWERED_KIND_JUDGED: _ClassVar[UnansweredKind]
    UNANSWERED_KIND_SHADOW: _ClassVar[UnansweredKind]

class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERDICT_UNSPECIFIED: _ClassVar[Verdict]
    VERDICT_RIGHT: _ClassVar[Verdict]
    VERDICT_WRONG: _ClassVar[Verdict]
USAGE_DIMENSION_UNSPECIFIED: UsageDimension
USAGE_DIMENSION_TENANT: UsageDimension
USAGE_DIMENSION_MODEL: UsageDimension
USAGE_DIMENSION_DAY: UsageDimension
UNANSWERED_KIND_UNSPECIFIED: UnansweredKind
UNANSWERED_KIND_CANCELLED: UnansweredKind
UNANSWERED_KIND_FAILED: UnansweredKind
UNANSWERED_KIND_INTERRUPTED: UnansweredKind
UNANSWERED_KIND_JUDGED: UnansweredKind
UNANSWERED_KIND_SHADOW: UnansweredKind
VERDICT_UNSPECIFIED: Verdict
VERDICT_RIGHT: Verdict
VERDICT_WRONG: Verdict

class CompleteRequest(_message.Message):
    __slots__ = ("messages", "objective", "sampling", "tools", "cache_control", "session_id", "request_id")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    TOOLS_FIELD_NUMBER: _ClassVar[int]
    CACHE_CONTROL_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[_chat_pb2.Message]
    objective: _objective_pb2.Objective
    sampling: _chat_pb2.Sampling
    tools: _containers.RepeatedCompositeFieldContainer[_chat_pb2.Tool]
    cache_control: CacheControl
    session_id: str
    request_id: str
    def __init__(self, messages: _Optional[_Iterable[_Union[_chat_pb2.Message, _Mapping]]] = ..., objective: _Optional[_Union[_objective_pb2.Objective, _Mapping]] = ..., sampling: _Optional[_Union[_chat_pb2.Sampling, _Mapping]] = ..., tools: _Optional[_Iterable[_Union[_chat_pb2.Tool, _Mapping]]] = ..., cache_control: _Optional[_Union[CacheControl, _Mapping]] = ..., session_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class CacheControl(_message.Message):
    __slots__ = ("no_cache", "no_store", "max_age", "ttl", "only_if_cached", "store_sampled")
    NO_CACHE_FIELD_NUMBER: _ClassVar[int]
    NO_STORE_FIELD_NUMBER: _ClassVar[int]
    MAX_AGE_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    ONLY_IF_CACHED_FIELD_NUMBER: _ClassVar[int]
    STORE_SAMPLED_FIELD_NUMBER: _ClassVar[int]
    no_cache: bool
    no_store: bool
    max_age: _duration_pb2.Duration
    ttl: _duration_pb2.Duration
    only_if_cached: bool
    store_sampled: bool
    def __init__(self, no_cache: _Optional[bool] = ..., no_store: _Optional[bool] = ..., max_age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., only_if_cached: _Optional[bool] = ..., store_sampled: _Optional[bool] = ...) -> None: ...

class CompleteResponse(_message.Message):
    __slots__ = ("text_delta", "tool_call_delta", "receipt")
    TEXT_DELTA_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALL_DELTA_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    text_delta: _executor_service_pb2.TextDelta
    tool_call_delta: _executor_service_pb2.ToolCallDelta
    receipt: _receipt_pb2.Receipt
    def __init__(self, text_delta: _Optional[_Union[_executor_service_pb2.TextDelta, _Mapping]] = ..., tool_call_delta: _Optional[_Union[_executor_service_pb2.ToolCallDelta, _Mapping]] = ..., receipt: _Optional[_Union[_receipt_pb2.Receipt, _Mapping]] = ...) -> None: ...

class GetUsageRequest(_message.Message):
    __slots__ = ("start_time", "end_time", "tenant", "group_by", "page_size", "page_token")
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    GROUP_BY_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    tenant: str
    group_by: _containers.RepeatedScalarFieldContainer[UsageDimension]
    page_size: int
    page_token: str
    def __init__(self, start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., tenant: _Optional[str] = ..., group_by: _Optional[_Iterable[_Union[UsageDimension, str]]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class GetUsageResponse(_message.Message):
    __slots__ = ("start_time", "total", "models", "groups", "next_page_token", "unanswered")
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    UNANSWERED_FIELD_NUMBER: _ClassVar[int]
    start_time: _timestamp_pb2.Timestamp
    total: UsageTotals
    models: _containers.RepeatedCompositeFieldContainer[ModelUsage]
    groups: _containers.RepeatedCompositeFieldContainer[UsageGroup]
    next_page_token: str
    unanswered: _containers.RepeatedCompositeFieldContainer[UnansweredUsage]
    def __init__(self, start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., total: _Optional[_Union[UsageTotals, _Mapping]] = ..., models: _Optional[_Iterable[_Union[ModelUsage, _Mapping]]] = ..., groups: _Optional[_Iterable[_Union[UsageGroup, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., unanswered: _Optional[_Iterable[_Union[UnansweredUsage, _Mapping]]] = ...) -> None: ...

class UnansweredUsage(_message.Message):
    __slots__ = ("kind", "executions", "actual_nano_usd")
    KIND_FIELD_NUMBER: _ClassVar[int]
    EXECUTIONS_FIELD_NUMBER: _ClassVar[int]
    ACTUAL_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    kind: UnansweredKind
    executions: int
    actual_nano_usd: int
    def __init__(self, kind: _Optional[_Union[UnansweredKind, str]] = ..., executions: _Optional[int] = ..., actual_nano_usd: _Optional[int] = ...) -> None: ...

class UsageGroup(_message.Message):
    __slots__ = ("tenant", "model", "day", "totals")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DAY_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    model: str
    day: _timestamp_pb2.Timestamp
    totals: UsageTotals
    def __init__(self, tenant: _Optional[str] = ..., model: _Optional[str] = ..., day: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., totals: _Optional[_Union[UsageTotals, _Mapping]] = ...) -> None: ...

class ModelUsage(_message.Message):
    __slots__ = ("model", "totals")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    model: str
    totals: UsageTotals
    def __init__(self, model: _Optional[str] = ..., totals: _Optional[_Union[UsageTotals, _Mapping]] = ...) -> None: ...

class UsageTotals(_message.Message):
    __slots__ = ("requests", "exact_hits", "semantic_hits", "shared", "usage", "unpriced_requests", "baseline_nano_usd", "levers", "actual_nano_usd", "abandoned")
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    EXACT_HITS_FIELD_NUMBER: _ClassVar[int]
    SEMANTIC_HITS_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    UNPRICED_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    BASELINE_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    LEVERS_FIELD_NUMBER: _ClassVar[int]
    ACTUAL_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    ABANDONED_FIELD_NUMBER: _ClassVar[int]
    requests: int
    exact_hits: int
    semantic_hits: int
    shared: int
    usage: _chat_pb2.Usage
    unpriced_requests: int
    baseline_nano_usd: int
    levers: _containers.RepeatedCompositeFieldContainer[_receipt_pb2.LeverSaving]
    actual_nano_usd: int
    abandoned: int
    def __init__(self, requests: _Optional[int] = ..., exact_hits: _Optional[int] = ..., semantic_hits: _Optional[int] = ..., shared: _Optional[int] = ..., usage: _Optional[_Union[_chat_pb2.Usage, _Mapping]] = ..., unpriced_requests: _Optional[int] = ..., baseline_nano_usd: _Optional[int] = ..., levers: _Optional[_Iterable[_Union[_receipt_pb2.LeverSaving, _Mapping]]] = ..., actual_nano_usd: _Optional[int] = ..., abandoned: _Optional[int] = ...) -> None: ...

class FeedbackRequest(_message.Message):
    __slots__ = ("lookup_id", "decision_id", "model", "verdict")
    LOOKUP_ID_FIELD_NUMBER: _ClassVar[int]
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    lookup_id: str
    decision_id: str
    model: str
    verdict: Verdict
    def __init__(self, lookup_id: _Optional[str] = ..., decision_id: _Optional[str] = ..., model: _Optional[str] = ..., verdict: _Optional[_Union[Verdict, str]] = ...) -> None: ...

class FeedbackResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
