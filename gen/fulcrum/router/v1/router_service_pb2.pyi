import datetime

from buf.validate import validate_pb2 as _validate_pb2
from fulcrum.embedding.v1 import embedding_pb2 as _embedding_pb2
from fulcrum.router.v1 import objective_pb2 as _objective_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RouteReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROUTE_REASON_UNSPECIFIED: _ClassVar[RouteReason]
    ROUTE_REASON_CHEAPEST_WITHIN_LOSS: _ClassVar[RouteReason]
    ROUTE_REASON_NO_CHEAPER_FITS: _ClassVar[RouteReason]
    ROUTE_REASON_ONLY_CANDIDATE: _ClassVar[RouteReason]
    ROUTE_REASON_NO_EMBEDDING: _ClassVar[RouteReason]
    ROUTE_REASON_UNFAMILIAR_PROMPT: _ClassVar[RouteReason]
    ROUTE_REASON_NO_PREDICTOR: _ClassVar[RouteReason]
    ROUTE_REASON_FASTEST_WITHIN_LOSS: _ClassVar[RouteReason]
    ROUTE_REASON_BEST_WITHIN_LIMITS: _ClassVar[RouteReason]
    ROUTE_REASON_CACHED_PREFIX: _ClassVar[RouteReason]
    ROUTE_REASON_NEEDS_CONVERSATION: _ClassVar[RouteReason]
    ROUTE_REASON_PROMISE_SUSPENDED: _ClassVar[RouteReason]
    ROUTE_REASON_CONTINUES_TOOL_CALL: _ClassVar[RouteReason]
    ROUTE_REASON_CHEAPER_FIRST: _ClassVar[RouteReason]

class AssessAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ASSESS_ACTION_UNSPECIFIED: _ClassVar[AssessAction]
    ASSESS_ACTION_ACCEPT: _ClassVar[AssessAction]
    ASSESS_ACTION_ESCALATE: _ClassVar[AssessAction]
ROUTE_REASON_UNSPECIFIED: RouteReason
ROUTE_REASON_CHEAPEST_WITHIN_LOSS: RouteReason
ROUTE_REASON_NO_CHEAPER_FITS: RouteReason
ROUTE_REASON_ONLY_CANDIDATE: RouteReason
ROUTE_REASON_NO_EMBEDDING: RouteReason
ROUTE_REASON_UNFAMILIAR_PROMPT: RouteReason
ROUTE_REASON_NO_PREDICTOR: RouteReason
ROUTE_REASON_FASTEST_WITHIN_LOSS: RouteReason
ROUTE_REASON_BEST_WITHIN_LIMITS: RouteReason
ROUTE_REASON_CACHED_PREFIX: RouteReason
ROUTE_REASON_NEEDS_CONVERSATION: RouteReason
ROUTE_REASON_PROMISE_SUSPENDED: RouteReason
ROUTE_REASON_CONTINUES_TOOL_CALL: RouteReason
ROUTE_REASON_CHEAPER_FIRST: RouteReason
ASSESS_ACTION_UNSPECIFIED: AssessAction
ASSESS_ACTION_ACCEPT: AssessAction
ASSESS_ACTION_ESCALATE: AssessAction

class RouteRequest(_message.Message):
    __slots__ = ("text", "embedding", "objective", "candidates", "input_tokens", "max_output_tokens", "needs_tools", "current_model", "cached_prefix_tokens", "input_bytes", "earlier_turns", "measured_speeds", "answers_tool_call", "tenant")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    NEEDS_TOOLS_FIELD_NUMBER: _ClassVar[int]
    CURRENT_MODEL_FIELD_NUMBER: _ClassVar[int]
    CACHED_PREFIX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    INPUT_BYTES_FIELD_NUMBER: _ClassVar[int]
    EARLIER_TURNS_FIELD_NUMBER: _ClassVar[int]
    MEASURED_SPEEDS_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_TOOL_CALL_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    text: str
    embedding: _embedding_pb2.Embedding
    objective: _objective_pb2.Objective
    candidates: _containers.RepeatedScalarFieldContainer[str]
    input_tokens: int
    max_output_tokens: int
    needs_tools: bool
    current_model: str
    cached_prefix_tokens: int
    input_bytes: int
    earlier_turns: int
    measured_speeds: _containers.RepeatedCompositeFieldContainer[MeasuredSpeed]
    answers_tool_call: bool
    tenant: str
    def __init__(self, text: _Optional[str] = ..., embedding: _Optional[_Union[_embedding_pb2.Embedding, _Mapping]] = ..., objective: _Optional[_Union[_objective_pb2.Objective, _Mapping]] = ..., candidates: _Optional[_Iterable[str]] = ..., input_tokens: _Optional[int] = ..., max_output_tokens: _Optional[int] = ..., needs_tools: _Optional[bool] = ..., current_model: _Optional[str] = ..., cached_prefix_tokens: _Optional[int] = ..., input_bytes: _Optional[int] = ..., earlier_turns: _Optional[int] = ..., measured_speeds: _Optional[_Iterable[_Union[MeasuredSpeed, _Mapping]]] = ..., answers_tool_call: _Optional[bool] = ..., tenant: _Optional[str] = ...) -> None: ...

class Speed(_message.Message):
    __slots__ = ("first_token", "output_tokens_per_second")
    FIRST_TOKEN_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    first_token: _duration_pb2.Duration
    output_tokens_per_second: float
    def __init__(self, first_token: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., output_tokens_per_second: _Optional[float] = ...) -> None: ...

class MeasuredSpeed(_message.Message):
    __slots__ = ("model", "speed")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SPEED_FIELD_NUMBER: _ClassVar[int]
    model: str
    speed: Speed
    def __init__(self, model: _Optional[str] = ..., speed: _Optional[_Union[Speed, _Mapping]] = ...) -> None: ...

class RouteResponse(_message.Message):
    __slots__ = ("decision_id", "plan", "reason", "explanation", "predictor_version", "expected_kept", "repeats")
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    PREDICTOR_VERSION_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_KEPT_FIELD_NUMBER: _ClassVar[int]
    REPEATS_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    plan: _containers.RepeatedCompositeFieldContainer[PlannedModel]
    reason: RouteReason
    explanation: str
    predictor_version: str
    expected_kept: float
    repeats: int
    def __init__(self, decision_id: _Optional[str] = ..., plan: _Optional[_Iterable[_Union[PlannedModel, _Mapping]]] = ..., reason: _Optional[_Union[RouteReason, str]] = ..., explanation: _Optional[str] = ..., predictor_version: _Optional[str] = ..., expected_kept: _Optional[float] = ..., repeats: _Optional[int] = ...) -> None: ...

class PlannedModel(_message.Message):
    __slots__ = ("model", "predicted_quality", "predicted_loss", "expected_cost_nano_usd", "expected_latency", "may_stand_in")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_QUALITY_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_LOSS_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_LATENCY_FIELD_NUMBER: _ClassVar[int]
    MAY_STAND_IN_FIELD_NUMBER: _ClassVar[int]
    model: str
    predicted_quality: float
    predicted_loss: float
    expected_cost_nano_usd: int
    expected_latency: _duration_pb2.Duration
    may_stand_in: bool
    def __init__(self, model: _Optional[str] = ..., predicted_quality: _Optional[float] = ..., predicted_loss: _Optional[float] = ..., expected_cost_nano_usd: _Optional[int] = ..., expected_latency: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., may_stand_in: _Optional[bool] = ...) -> None: ...

class AssessRequest(_message.Message):
    __slots__ = ("decision_id", "signals")
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    signals: Signals
    def __init__(self, decision_id: _Optional[str] = ..., signals: _Optional[_Union[Signals, _Mapping]] = ...) -> None: ...

class Signals(_message.Message):
    __slots__ = ("model", "complete", "output_tokens", "mean_logprob", "agreement")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MEAN_LOGPROB_FIELD_NUMBER: _ClassVar[int]
    AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    model: str
    complete: bool
    output_tokens: int
    mean_logprob: float
    agreement: float
    def __init__(self, model: _Optional[str] = ..., complete: _Optional[bool] = ..., output_tokens: _Optional[int] = ..., mean_logprob: _Optional[float] = ..., agreement: _Optional[float] = ...) -> None: ...

class AssessResponse(_message.Message):
    __slots__ = ("action", "escalate_to", "explanation")
    ACTION_FIELD_NUMBER: _ClassVar[int]
    ESCALATE_TO_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    action: AssessAction
    escalate_to: str
    explanation: str
    def __init__(self, action: _Optional[_Union[AssessAction, str]] = ..., escalate_to: _Optional[str] = ..., explanation: _Optional[str] = ...) -> None: ...

class FeedbackRequest(_message.Message):
    __slots__ = ("decision_id", "model", "score", "source", "sampling_probability", "explored", "tenant")
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    EXPLORED_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    model: str
    score: float
    source: str
    sampling_probability: float
    explored: bool
    tenant: str
    def __init__(self, decision_id: _Optional[str] = ..., model: _Optional[str] = ..., score: _Optional[float] = ..., source: _Optional[str] = ..., sampling_probability: _Optional[float] = ..., explored: _Optional[bool] = ..., tenant: _Optional[str] = ...) -> None: ...

class FeedbackResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models", "next_page_token", "promise")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PROMISE_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[CatalogueModel]
    next_page_token: str
    promise: PromiseState
    def __init__(self, models: _Optional[_Iterable[_Union[CatalogueModel, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., promise: _Optional[_Union[PromiseState, _Mapping]] = ...) -> None: ...

class PromiseState(_message.Message):
    __slots__ = ("suspended", "judged_answers", "harmed_answers", "shift")
    SUSPENDED_FIELD_NUMBER: _ClassVar[int]
    JUDGED_ANSWERS_FIELD_NUMBER: _ClassVar[int]
    HARMED_ANSWERS_FIELD_NUMBER: _ClassVar[int]
    SHIFT_FIELD_NUMBER: _ClassVar[int]
    suspended: bool
    judged_answers: int
    harmed_answers: int
    shift: float
    def __init__(self, suspended: _Optional[bool] = ..., judged_answers: _Optional[int] = ..., harmed_answers: _Optional[int] = ..., shift: _Optional[float] = ...) -> None: ...

class CatalogueModel(_message.Message):
    __slots__ = ("name", "context_tokens", "domains", "supports_tools", "is_default", "list_price", "machine_price", "speed", "bytes_per_token", "expected_output_tokens")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    DOMAINS_FIELD_NUMBER: _ClassVar[int]
    SUPPORTS_TOOLS_FIELD_NUMBER: _ClassVar[int]
    IS_DEFAULT_FIELD_NUMBER: _ClassVar[int]
    LIST_PRICE_FIELD_NUMBER: _ClassVar[int]
    MACHINE_PRICE_FIELD_NUMBER: _ClassVar[int]
    SPEED_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_TOKEN_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    name: str
    context_tokens: int
    domains: _containers.RepeatedScalarFieldContainer[str]
    supports_tools: bool
    is_default: bool
    list_price: ListPrice
    machine_price: MachinePrice
    speed: Speed
    bytes_per_token: float
    expected_output_tokens: int
    def __init__(self, name: _Optional[str] = ..., context_tokens: _Optional[int] = ..., domains: _Optional[_Iterable[str]] = ..., supports_tools: _Optional[bool] = ..., is_default: _Optional[bool] = ..., list_price: _Optional[_Union[ListPrice, _Mapping]] = ..., machine_price: _Optional[_Union[MachinePrice, _Mapping]] = ..., speed: _Optional[_Union[Speed, _Mapping]] = ..., bytes_per_token: _Optional[float] = ..., expected_output_tokens: _Optional[int] = ...) -> None: ...

class ListPrice(_message.Message):
    __slots__ = ("input_usd_per_million_tokens", "cached_input_usd_per_million_tokens", "cache_write_usd_per_million_tokens", "output_usd_per_million_tokens", "tiers")
    INPUT_USD_PER_MILLION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHED_INPUT_USD_PER_MILLION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHE_WRITE_USD_PER_MILLION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_USD_PER_MILLION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TIERS_FIELD_NUMBER: _ClassVar[int]
    input_usd_per_million_tokens: float
    cached_input_usd_per_million_tokens: float
    cache_write_usd_per_million_tokens: float
    output_usd_per_million_tokens: float
    tiers: _containers.RepeatedCompositeFieldContainer[PriceTier]
    def __init__(self, input_usd_per_million_tokens: _Optional[float] = ..., cached_input_usd_per_million_tokens: _Optional[float] = ..., cache_write_usd_per_million_tokens: _Optional[float] = ..., output_usd_per_million_tokens: _Optional[float] = ..., tiers: _Optional[_Iterable[_Union[PriceTier, _Mapping]]] = ...) -> None: ...

class PriceTier(_message.Message):
    __slots__ = ("above_input_tokens", "input_usd_per_million_tokens", "cached_input_usd_per_million_tokens", "cache_write_usd_per_million_tokens", "output_usd_per_million_tokens")
    ABOVE_INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    INPUT_USD_PER_MILLION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHED_INPUT_USD_PER_MILLION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHE_WRITE_USD_PER_MILLION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_USD_PER_MILLION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    above_input_tokens: int
    input_usd_per_million_tokens: float
    cached_input_usd_per_million_tokens: float
    cache_write_usd_per_million_tokens: float
    output_usd_per_million_tokens: float
    def __init__(self, above_input_tokens: _Optional[int] = ..., input_usd_per_million_tokens: _Optional[float] = ..., cached_input_usd_per_million_tokens: _Optional[float] = ..., cache_write_usd_per_million_tokens: _Optional[float] = ..., output_usd_per_million_tokens: _Optional[float] = ...) -> None: ...

class MachinePrice(_message.Message):
    __slots__ = ("usd_per_hour", "reference_seconds_per_million_input_tokens", "reference_seconds_per_million_output_tokens")
    USD_PER_HOUR_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_SECONDS_PER_MILLION_INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_SECONDS_PER_MILLION_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    usd_per_hour: float
    reference_seconds_per_million_input_tokens: float
    reference_seconds_per_million_output_tokens: float
    def __init__(self, usd_per_hour: _Optional[float] = ..., reference_seconds_per_million_input_tokens: _Optional[float] = ..., reference_seconds_per_million_output_tokens: _Optional[float] = ...) -> None: ...
