"""A channel that is made anew when its certificates change, while calls under way end on the one they began on."""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc

from services.chassis.tls import ClientCertificates

_LONGEST_CALL_S = 3600.0


class ReloadingChannel:
    """The part of a gRPC channel that generated stubs need.

    Args:
        certificates: what secures the connection.
        make: a channel with these credentials.
    """

    def __init__(
        self, certificates: ClientCertificates, make: Callable[[grpc.ChannelCredentials], grpc.aio.Channel]
    ) -> None:
        self._certificates = certificates
        self._make = make
        self._version = certificates.version()
        self._channel = make(certificates.credentials())
        self._callables: dict[str, Any] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def unary_unary(self, path: str, *given: Any, **named: Any) -> Callable[..., Any]:
        """A callable that calls the method on the present channel."""
        return self._calling("unary_unary", path, given, named)

    def unary_stream(self, path: str, *given: Any, **named: Any) -> Callable[..., Any]:
        """A callable that streams from the method on the present channel."""
        return self._calling("unary_stream", path, given, named)

    def stream_stream(self, path: str, *given: Any, **named: Any) -> Callable[..., Any]:
        """A callable that streams both ways on the present channel."""
        return self._calling("stream_stream", path, given, named)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """The present channel's state."""
        return self._channel.get_state(try_to_connect)

    async def close(self, grace: float | None = None) -> None:
        """Ends calls after `grace` seconds, those on earlier channels too."""
        for task in self._closing:
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        await self._channel.close(grace)

    async def __aenter__(self) -> "ReloadingChannel":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _calling(self, kind: str, path: str, given: tuple[Any, ...], named: dict[str, Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self._renew()
            method = self._callables.get(path)
            if method is None:
                method = self._callables[path] = getattr(self._channel, kind)(path, *given, **named)
            return method(*arguments, **options)

        return call

    def _renew(self) -> None:
        version = self._certificates.version()
        if version == self._version:
            return
        earlier, self._version = self._channel, version
        self._channel = self._make(self._certificates.credentials())
        self._callables = {}
        task = asyncio.ensure_future(earlier.close(_LONGEST_CALL_S))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
