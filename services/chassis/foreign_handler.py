"""How handlers that come with grpc, health's and reflection's, get their requests: in time, and only what parses.

grpc parses a request before it calls the handler, and says UNKNOWN where that fails; where the caller has left by then,
it prints a traceback too. The guard sees to our own services, this to those that come with grpc.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from services.chassis import status
from services.chassis.errors import FulcrumError, InvalidField
from services.chassis.request_reader import RequestReader

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


def reading(handler: Handler, reader: RequestReader) -> Handler:
    """The handler, with its requests from the reader; for streams of requests into unary answers, as it is."""
    given: Any = handler
    parse: Callable[[bytes], Any] = given.request_deserializer

    async def parsed(next_one: Callable[[Any], Any], context: Any) -> Any:
        try:
            request = await next_one(context)
            return None if request is None else _parsed(parse, request)
        except FulcrumError as error:
            await context.abort(status.code_of(error), str(error), status.trailers(error))

    async def stream_unary(_: Any, context: Any) -> Any:
        return await given.unary_unary(await parsed(reader.next, context), context)

    async def stream_stream(_: Any, context: Any) -> AsyncIterator[Any]:
        if given.unary_stream:
            answers = given.unary_stream(await parsed(reader.next, context), context)
        else:
            answers = given.stream_stream(requests(context), context)
        async with aclosing(answers):
            async for answer in answers:
                yield answer

    async def requests(context: Any) -> AsyncIterator[Any]:
        while (request := await parsed(reader.next_or_end, context)) is not None:
            yield request

    codec = {"response_serializer": given.response_serializer}
    if given.unary_unary:
        return grpc.stream_unary_rpc_method_handler(stream_unary, **codec)
    return handler if given.stream_unary else grpc.stream_stream_rpc_method_handler(stream_stream, **codec)


def _parsed(parse: Callable[[bytes], Any], request: bytes) -> Any:
    try:
        return parse(request)
    except DecodeError:
        raise InvalidField("request", f"{len(request)} bytes", "the bytes of a request of this method") from None
