import datetime

from fulcrum.cache.v1 import cache_service_pb2 as _cache_service_pb2
from fulcrum.executor.v1 import chat_pb2 as _chat_pb2
from fulcrum.router.v1 import router_service_pb2 as _router_service_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CacheResult(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CACHE_RESULT_UNSPECIFIED: _ClassVar[CacheResult]
    CACHE_RESULT_EXACT_HIT: _ClassVar[CacheResult]
    CACHE_RESULT_SEMANTIC_HIT: _ClassVar[CacheResult]
    CACHE_RESULT_SHARED: _ClassVar[CacheResult]
    CACHE_RESULT_MISS: _ClassVar[CacheResult]
    CACHE_RESULT_BYPASSED: _ClassVar[CacheResult]

class Lever(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LEVER_UNSPECIFIED: _ClassVar[Lever]
    LEVER_ROUTING: _ClassVar[Lever]
    LEVER_ANSWER_REUSE: _ClassVar[Lever]
    LEVER_PREFIX_REUSE: _ClassVar[Lever]
    LEVER_EXECUTION: _ClassVar[Lever]

class Part(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PART_UNSPECIFIED: _ClassVar[Part]
    PART_ENCODER: _ClassVar[Part]
    PART_CACHE: _ClassVar[Part]
    PART_ROUTER: _ClassVar[Part]
    PART_MODEL: _ClassVar[Part]
CACHE_RESULT_UNSPECIFIED: CacheResult
CACHE_RESULT_EXACT_HIT: CacheResult
CACHE_RESULT_SEMANTIC_HIT: CacheResult
CACHE_RESULT_SHARED: CacheResult
CACHE_RESULT_MISS: CacheResult
CACHE_RESULT_BYPASSED: CacheResult
LEVER_UNSPECIFIED: Lever
LEVER_ROUTING: Lever
LEVER_ANSWER_REUSE: Lever
LEVER_PREFIX_REUSE: Lever
LEVER_EXECUTION: Lever
PART_UNSPECIFIED: Part
PART_ENCODER: Part
PART_CACHE: Part
PART_ROUTER: Part
PART_MODEL: Part

class Receipt(_message.Message):
    __slots__ = ("request_id", "model", "finish_reason", "usage", "cache", "route", "cost", "latency", "quality", "degradations", "receipt_id", "attempts", "discarded")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    DEGRADATIONS_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    DISCARDED_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model: str
    finish_reason: _chat_pb2.FinishReason
    usage: _chat_pb2.Usage
    cache: CacheOutcome
    route: RouteOutcome
    cost: Cost
    latency: Latency
    quality: QualityBudget
    degradations: _containers.RepeatedCompositeFieldContainer[Degradation]
    receipt_id: str
    attempts: int
    discarded: _containers.RepeatedCompositeFieldContainer[DiscardedAnswer]
    def __init__(self, request_id: _Optional[str] = ..., model: _Optional[str] = ..., finish_reason: _Optional[_Union[_chat_pb2.FinishReason, str]] = ..., usage: _Optional[_Union[_chat_pb2.Usage, _Mapping]] = ..., cache: _Optional[_Union[CacheOutcome, _Mapping]] = ..., route: _Optional[_Union[RouteOutcome, _Mapping]] = ..., cost: _Optional[_Union[Cost, _Mapping]] = ..., latency: _Optional[_Union[Latency, _Mapping]] = ..., quality: _Optional[_Union[QualityBudget, _Mapping]] = ..., degradations: _Optional[_Iterable[_Union[Degradation, _Mapping]]] = ..., receipt_id: _Optional[str] = ..., attempts: _Optional[int] = ..., discarded: _Optional[_Iterable[_Union[DiscardedAnswer, _Mapping]]] = ...) -> None: ...

class DiscardedAnswer(_message.Message):
    __slots__ = ("model", "usage")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    model: str
    usage: _chat_pb2.Usage
    def __init__(self, model: _Optional[str] = ..., usage: _Optional[_Union[_chat_pb2.Usage, _Mapping]] = ...) -> None: ...

class CacheOutcome(_message.Message):
    __slots__ = ("result", "lookup_id", "probability", "similarity", "explanation", "not_kept")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    LOOKUP_ID_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    NOT_KEPT_FIELD_NUMBER: _ClassVar[int]
    result: CacheResult
    lookup_id: str
    probability: float
    similarity: float
    explanation: str
    not_kept: _cache_service_pb2.NotKept
    def __init__(self, result: _Optional[_Union[CacheResult, str]] = ..., lookup_id: _Optional[str] = ..., probability: _Optional[float] = ..., similarity: _Optional[float] = ..., explanation: _Optional[str] = ..., not_kept: _Optional[_Union[_cache_service_pb2.NotKept, str]] = ...) -> None: ...

class RouteOutcome(_message.Message):
    __slots__ = ("decision_id", "explanation", "predicted_quality", "predicted_loss", "alternatives")
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_QUALITY_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_LOSS_FIELD_NUMBER: _ClassVar[int]
    ALTERNATIVES_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    explanation: str
    predicted_quality: float
    predicted_loss: float
    alternatives: _containers.RepeatedCompositeFieldContainer[_router_service_pb2.PlannedModel]
    def __init__(self, decision_id: _Optional[str] = ..., explanation: _Optional[str] = ..., predicted_quality: _Optional[float] = ..., predicted_loss: _Optional[float] = ..., alternatives: _Optional[_Iterable[_Union[_router_service_pb2.PlannedModel, _Mapping]]] = ...) -> None: ...

class Cost(_message.Message):
    __slots__ = ("priced", "baseline_nano_usd", "baseline_model", "levers", "actual_nano_usd", "discarded_nano_usd")
    PRICED_FIELD_NUMBER: _ClassVar[int]
    BASELINE_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    BASELINE_MODEL_FIELD_NUMBER: _ClassVar[int]
    LEVERS_FIELD_NUMBER: _ClassVar[int]
    ACTUAL_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    DISCARDED_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    priced: bool
    baseline_nano_usd: int
    baseline_model: str
    levers: _containers.RepeatedCompositeFieldContainer[LeverSaving]
    actual_nano_usd: int
    discarded_nano_usd: int
    def __init__(self, priced: _Optional[bool] = ..., baseline_nano_usd: _Optional[int] = ..., baseline_model: _Optional[str] = ..., levers: _Optional[_Iterable[_Union[LeverSaving, _Mapping]]] = ..., actual_nano_usd: _Optional[int] = ..., discarded_nano_usd: _Optional[int] = ...) -> None: ...

class LeverSaving(_message.Message):
    __slots__ = ("lever", "factor", "saved_nano_usd")
    LEVER_FIELD_NUMBER: _ClassVar[int]
    FACTOR_FIELD_NUMBER: _ClassVar[int]
    SAVED_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    lever: Lever
    factor: float
    saved_nano_usd: int
    def __init__(self, lever: _Optional[_Union[Lever, str]] = ..., factor: _Optional[float] = ..., saved_nano_usd: _Optional[int] = ...) -> None: ...

class Latency(_message.Message):
    __slots__ = ("first_token", "total", "model")
    FIRST_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    first_token: _duration_pb2.Duration
    total: _duration_pb2.Duration
    model: _duration_pb2.Duration
    def __init__(self, first_token: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., total: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., model: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class QualityBudget(_message.Message):
    __slots__ = ("max_quality_loss", "cache_share", "router_share")
    MAX_QUALITY_LOSS_FIELD_NUMBER: _ClassVar[int]
    CACHE_SHARE_FIELD_NUMBER: _ClassVar[int]
    ROUTER_SHARE_FIELD_NUMBER: _ClassVar[int]
    max_quality_loss: float
    cache_share: float
    router_share: float
    def __init__(self, max_quality_loss: _Optional[float] = ..., cache_share: _Optional[float] = ..., router_share: _Optional[float] = ...) -> None: ...

class Degradation(_message.Message):
    __slots__ = ("part", "status", "consequence")
    PART_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CONSEQUENCE_FIELD_NUMBER: _ClassVar[int]
    part: Part
    status: str
    consequence: str
    def __init__(self, part: _Optional[_Union[Part, str]] = ..., status: _Optional[str] = ..., consequence: _Optional[str] = ...) -> None: ...
