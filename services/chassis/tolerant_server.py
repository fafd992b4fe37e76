"""A grpc.aio server that accepts calls at once, however busy its loop is, and that an unreadable path does not end.

grpcio (1.85.1) accepts one call of a method in four turns of the loop. While turns are long, as they are under load,
calls wait where nobody sees them, in gRPC's core, and are not even refused; from a thousand on, core cancels some. It
also decodes the path of a call that is for no registered method within that loop: a path that is not UTF-8 ends it, and
the server with it, while its process goes on. Here several calls of each method are asked for at a time, each handled
one turn after it came. What no method is registered for is accepted under a name of our own, for which there is no
handler, so that its callers get UNIMPLEMENTED as for any method that is not there.
"""

import asyncio
import uuid
from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio
import grpc.aio._server
from grpc._cython import cygrpc

from services.chassis.foreign_handler import reading
from services.chassis.request_reader import RequestReader

_Server: Any = grpc.aio._server.Server  # typed as abstract, which it is not
_NOWHERE = f"/{uuid.uuid4().hex}"  # nobody can call it by this name, which core would wait for in vain
_OURS = "/fulcrum."
_AT_A_TIME = 16  # calls of one method that are taken from core in one turn of the loop


class _Acceptor(cygrpc.AioServer):  # type: ignore[misc]
    """Accepts calls in loops of its own, and leaves grpcio's without any."""

    def __init__(self, loop: asyncio.AbstractEventLoop, interceptors: tuple[Any, ...], *told: Any) -> None:
        super().__init__(loop, None, (), interceptors, *told)
        self._running = loop
        self._guards = interceptors
        self._handlers: dict[str, Any] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself holds them weakly

    def add_registered_method_handlers(self, handlers: "dict[str, grpc.RpcMethodHandler[Any, Any]]") -> None:
        """As of cygrpc.AioServer."""
        self._handlers.update(handlers)
        super().add_registered_method_handlers(handlers)

    def _make_request_call_future(self, method: bytes | None) -> "asyncio.Future[Any]":
        """What grpcio's loop waits for: nothing but the end."""
        ended = self._running.create_future()
        if method is not None:
            name = method.decode()
            resolver = cygrpc._MethodResolver([], self._handlers)
            for _ in range(_AT_A_TIME if name.startswith(_OURS) else 1):
                self._hold(self._accept(name, resolver, ended))
        return ended

    async def _accept(self, name: str, resolver: Any, ended: "asyncio.Future[Any]") -> None:
        while True:
            try:
                asked = self._request_call() if name == _NOWHERE else self._request_registered_call(name.encode())
                state = await asked
            except cygrpc._RequestCallError as error:
                if self.is_running():
                    continue
                if not ended.done():
                    ended.set_exception(error)
                return
            handling = cygrpc._handle_rpc(name, resolver, self._guards, state, self._running, False)
            self._hold(cygrpc._schedule_rpc_coro(handling, state, self._running, name))
            del handling, state  # the next one may be long in coming

    def _hold(self, work: Any) -> None:
        task = self._running.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class TolerantServer(_Server):  # type: ignore[misc]
    """As grpc.aio.server() makes it, but for how it accepts calls.

    Args:
        interceptors, options: as of grpc.aio.server().
    """

    def __init__(self, interceptors: Sequence[grpc.aio.ServerInterceptor], options: Sequence[tuple[str, Any]]) -> None:
        self._loop = asyncio.get_running_loop()
        self._server = _Acceptor(self._loop, tuple(interceptors), tuple(options), None)
        self._requests = RequestReader()
        self._server.add_registered_method_handlers({_NOWHERE: None})  # type: ignore[dict-item]

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: "dict[str, grpc.RpcMethodHandler[Any, Any]]"
    ) -> None:
        """As of grpc.aio.Server; what comes with grpc reads its requests with care, as the guard does for our own."""
        if not service_name.startswith("fulcrum."):
            method_handlers = {name: reading(one, self._requests) for name, one in method_handlers.items()}
        super().add_registered_method_handlers(service_name, method_handlers)
