"""A grpc.aio server that a call with an unreadable path does not end.

grpcio (1.85.1) decodes the path of a call that is for no registered method within the loop that accepts calls: a path
that is not UTF-8 ends that loop, and the server with it, while its process goes on. Here such calls are accepted under
a name of our own, for which there is no handler, so that their callers get UNIMPLEMENTED as for any method that is not
there. All methods that are served are registered ones, as generated code makes them.
"""

import asyncio
import uuid
from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio
import grpc.aio._server
from grpc._cython import cygrpc

from services.chassis.unreadable import refusing_unreadable

_Server: Any = grpc.aio._server.Server  # typed as abstract, which it is not
_NOWHERE = f"/{uuid.uuid4().hex}"  # nobody can call it by this name, which core would wait for in vain


class _Acceptor(cygrpc.AioServer):  # type: ignore[misc]
    """Accepts what no method is registered for without looking at its path."""

    def _make_request_call_future(self, method: bytes | None) -> "asyncio.Future[Any]":
        if method is None:  # its path would be decoded: never let it come
            return asyncio.get_running_loop().create_future()
        asked = None if method == _NOWHERE.encode() else method
        future: asyncio.Future[Any] = super()._make_request_call_future(asked)
        return future


class TolerantServer(_Server):  # type: ignore[misc]
    """As grpc.aio.server() makes it, but for calls with unreadable paths.

    Args:
        interceptors, options, maximum_concurrent_rpcs: as of grpc.aio.server().
    """

    def __init__(
        self,
        interceptors: Sequence[grpc.aio.ServerInterceptor],
        options: Sequence[tuple[str, Any]],
        maximum_concurrent_rpcs: int,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        told = (None, (), tuple(interceptors), tuple(options), maximum_concurrent_rpcs)
        self._server = _Acceptor(self._loop, *told)
        self._server.add_registered_method_handlers({_NOWHERE: None})

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: "dict[str, grpc.RpcMethodHandler[Any, Any]]"
    ) -> None:
        """As of grpc.aio.Server; what comes with grpc refuses unreadable requests, as the guard does for our own."""
        if not service_name.startswith("fulcrum."):
            method_handlers = {name: refusing_unreadable(one) for name, one in method_handlers.items()}
        super().add_registered_method_handlers(service_name, method_handlers)
