"""What `fulcrum up` shows of the services behind edge where callers are tenants: their models, to operators alone."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import grpc

from services.chassis.call import caller
from services.chassis.errors import PermissionDenied
from services.chassis.guard import Handler
from services.chassis.server import Component

_FOR_OPERATORS = frozenset({"ListModels"})


def for_operators(component: Component) -> Component:
    """The component, of which callers reach the lists of models alone; the process's own channel reaches all of it."""

    def register(server: grpc.aio.Server) -> None:
        component.register(cast(grpc.aio.Server, _Door(server)))

    return replace(component, services=(), register=register)


class _Door:
    """The part of a gRPC server that generated `add_*_to_server` functions need."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Does nothing: the registered methods below are the same handlers by name."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Hands on what operators may call."""
        shown = {name: _for_trusted(one) for name, one in handlers.items() if name in _FOR_OPERATORS}
        self._server.add_registered_method_handlers(service, shown)


def _for_trusted(handler: Handler) -> Handler:
    unary: Callable[[Any, Any], Awaitable[Any]] = handler.unary_unary  # type: ignore[assignment]

    async def unary_unary(request: Any, context: Any) -> Any:
        found = caller()
        if not found.trusted:
            raise PermissionDenied("caller", found.tenant, "an operator, as by a key that is made with --operator")
        return await unary(request, context)

    return grpc.unary_unary_rpc_method_handler(
        unary_unary,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )
