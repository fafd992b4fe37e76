import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Goal(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GOAL_UNSPECIFIED: _ClassVar[Goal]
    GOAL_CHEAPEST: _ClassVar[Goal]
    GOAL_BEST: _ClassVar[Goal]
    GOAL_FASTEST: _ClassVar[Goal]
GOAL_UNSPECIFIED: Goal
GOAL_CHEAPEST: Goal
GOAL_BEST: Goal
GOAL_FASTEST: Goal

class Objective(_message.Message):
    __slots__ = ("max_quality_loss", "confidence", "max_cost_nano_usd", "max_latency", "allowed_models", "denied_models", "goal", "whole_answer")
    MAX_QUALITY_LOSS_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    MAX_COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    MAX_LATENCY_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_MODELS_FIELD_NUMBER: _ClassVar[int]
    DENIED_MODELS_FIELD_NUMBER: _ClassVar[int]
    GOAL_FIELD_NUMBER: _ClassVar[int]
    WHOLE_ANSWER_FIELD_NUMBER: _ClassVar[int]
    max_quality_loss: float
    confidence: float
    max_cost_nano_usd: int
    max_latency: _duration_pb2.Duration
    allowed_models: _containers.RepeatedScalarFieldContainer[str]
    denied_models: _containers.RepeatedScalarFieldContainer[str]
    goal: Goal
    whole_answer: bool
    def __init__(self, max_quality_loss: _Optional[float] = ..., confidence: _Optional[float] = ..., max_cost_nano_usd: _Optional[int] = ..., max_latency: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., allowed_models: _Optional[_Iterable[str]] = ..., denied_models: _Optional[_Iterable[str]] = ..., goal: _Optional[_Union[Goal, str]] = ..., whole_answer: _Optional[bool] = ...) -> None: ...
