"""What health and reflection make of bytes that do not parse: a fault of the caller's, not of the server's.

grpc parses a request before it calls the handler, and says UNKNOWN where that fails; where the caller has left by then,
it prints a traceback too. The guard sees to our own services, this to those that come with grpc.
"""

import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


def refusing_unreadable(handler: Handler) -> Handler:
    """The handler, answering INVALID_ARGUMENT to what does not parse; streams of requests into unary answers aside."""
    given: Any = handler
    parse: Callable[[bytes], Any] = given.request_deserializer

    async def read(request: bytes, context: Any) -> Any:
        try:
            return parse(request)
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "request: got bytes that do not parse")

    async def unary_unary(request: bytes, context: Any) -> Any:
        return await given.unary_unary(await read(request, context), context)

    async def unary_stream(request: bytes, context: Any) -> None:
        answers = given.unary_stream(await read(request, context), context)
        if inspect.isawaitable(answers):  # health's: it writes by itself
            await answers
            return
        async for answer in answers:
            await context.write(answer)

    async def stream_stream(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[Any]:
        readable = (await read(request, context) async for request in requests)
        async for answer in given.stream_stream(readable, context):
            yield answer

    codec = {"response_serializer": given.response_serializer}
    if given.unary_unary:
        return grpc.unary_unary_rpc_method_handler(unary_unary, **codec)
    if given.unary_stream:
        return grpc.unary_stream_rpc_method_handler(unary_stream, **codec)
    return grpc.stream_stream_rpc_method_handler(stream_stream, **codec) if given.stream_stream else handler
