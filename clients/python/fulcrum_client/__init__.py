"""A client of Fulcrum: `Client` and `AsyncClient`, their answers and their errors."""

from fulcrum_client.answers import Answer, AsyncStream, Stream, ToolCall
from fulcrum_client.clients import AsyncClient, Client
from fulcrum_client.connection import Tls
from fulcrum_client.errors import (
    CallError,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    InternalError,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from fulcrum_client.exchange import Retries
from fulcrum_client.requests import Options, Turn

__all__ = [
    "Answer",
    "AsyncClient",
    "AsyncStream",
    "CallError",
    "Client",
    "DeadlineExceeded",
    "FailedPrecondition",
    "FieldViolation",
    "InternalError",
    "InvalidRequest",
    "NotFound",
    "Options",
    "PermissionDenied",
    "ResourceExhausted",
    "Retries",
    "Stream",
    "Tls",
    "ToolCall",
    "Turn",
    "Unauthenticated",
    "Unavailable",
]
