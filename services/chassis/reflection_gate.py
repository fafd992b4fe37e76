"""Reflection for those alone who may call what it describes."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from services.chassis import status
from services.chassis.errors import FulcrumError
from services.chassis.identity import Identity

REFLECTION = "/grpc.reflection."


def for_callers(handler: "grpc.RpcMethodHandler[Any, Any]", identity: Identity) -> "grpc.RpcMethodHandler[Any, Any]":
    """The handler behind authentication; the handler itself where nothing is asked of callers."""
    stream: Callable[[Any, Any], AsyncIterator[Any]] | None = handler.stream_stream  # type: ignore[assignment]
    if identity.local or stream is None:
        return handler

    async def stream_stream(requests: Any, context: Any) -> AsyncIterator[Any]:
        try:
            identity.of_wire(context.invocation_metadata() or (), context.auth_context)
        except FulcrumError as error:
            await context.abort(status.code_of(error), str(error), status.trailers(error))
        async for response in stream(requests, context):
            yield response

    return grpc.stream_stream_rpc_method_handler(
        stream_stream,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )
