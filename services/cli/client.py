"""A client of a running suite, for the command line and the benchmarks."""

import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import grpc
from fulcrum.cache.v1 import cache_service_pb2 as cache_pb
from fulcrum.cache.v1.cache_service_pb2_grpc import CacheServiceStub
from fulcrum.edge.v1 import edge_service_pb2 as edge_pb
from fulcrum.edge.v1 import receipt_pb2
from fulcrum.edge.v1.edge_service_pb2_grpc import EdgeServiceStub
from fulcrum.executor.v1 import executor_service_pb2 as executor_pb
from fulcrum.executor.v1.executor_service_pb2_grpc import ExecutorServiceStub
from fulcrum.router.v1 import router_service_pb2 as router_pb
from fulcrum.router.v1.router_service_pb2_grpc import RouterServiceStub

from services.chassis.access import ClientTlsSettings, is_loopback
from services.chassis.channel import connect
from services.chassis.errors import FulcrumError
from services.chassis.status import error_from
from services.chassis.tls import ClientCertificates

API_KEY_VARIABLE = "FULCRUM_API_KEY"


@dataclass(frozen=True)
class Completion:
    """A whole answer and its receipt."""

    text: str
    receipt: receipt_pb2.Receipt


class Client:
    """Calls of a suite at one address, with a key if there is one; errors come as services.chassis.errors."""

    def __init__(self, channel: grpc.aio.Channel, timeout_s: float = 120.0, key: str | None = None) -> None:
        self._timeout_s = timeout_s
        self._metadata = (("authorization", f"Bearer {key}"),) if key else ()
        self._edge = EdgeServiceStub(channel)
        self._cache = CacheServiceStub(channel)
        self._router = RouterServiceStub(channel)
        self._executor = ExecutorServiceStub(channel)

    async def stream(self, request: edge_pb.CompleteRequest) -> AsyncGenerator[edge_pb.CompleteResponse, None]:
        """The events of one answer."""
        call: Any = self._edge.Complete(request, timeout=self._timeout_s, metadata=self._metadata)
        try:
            async for event in cast(AsyncIterator[edge_pb.CompleteResponse], call):
                yield event
        except grpc.aio.AioRpcError as error:
            raise error_from(error, "edge") from error
        finally:
            call.cancel()

    async def complete(self, request: edge_pb.CompleteRequest) -> Completion:
        """One answer, whole."""
        text: list[str] = []
        async for event in self.stream(request):
            if event.WhichOneof("event") == "receipt":
                return Completion("".join(text), event.receipt)
            text.append(event.text_delta.text)
        raise FulcrumError("edge", "a stream without a receipt", "a receipt")

    async def usage(self, request: edge_pb.GetUsageRequest | None = None) -> edge_pb.GetUsageResponse:
        """Sums of the ledger: the caller's own, by model, where no request splits or narrows them."""
        asked = request or edge_pb.GetUsageRequest()
        return cast(edge_pb.GetUsageResponse, await self._call(self._edge.GetUsage, asked))

    async def cache_stats(self) -> cache_pb.StatsResponse:
        """The cache's counts and sizes."""
        return cast(cache_pb.StatsResponse, await self._call(self._cache.Stats, cache_pb.StatsRequest()))

    async def catalogue(self) -> list[router_pb.CatalogueModel]:
        """The router's models."""
        request = router_pb.ListModelsRequest(page_size=1000)
        return list((await self._call(self._router.ListModels, request)).models)

    async def engines(self) -> list[executor_pb.Model]:
        """The executor's models."""
        request = executor_pb.ListModelsRequest(page_size=1000)
        return list((await self._call(self._executor.ListModels, request)).models)

    async def _call(self, method: Any, request: object) -> Any:
        try:
            return await method(request, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise error_from(error, "suite") from error


@asynccontextmanager
async def client(
    address: str, tls: ClientTlsSettings | None = None, environment: Mapping[str, str] = os.environ
) -> AsyncIterator[Client]:
    """A client of the suite at `address`.

    Args:
        address: host:port.
        tls: how the connection is secured; no TLS where None.
        environment: holds the API key, if the suite asks for one.

    Raises:
        ConfigError: the file of certificates cannot be used.
    """
    certificates = ClientCertificates(tls, "--ca, --certificate or --key") if tls else None
    key = environment.get(API_KEY_VARIABLE, "").strip() or None
    if key and not certificates and not is_loopback(address.rpartition(":")[0]):
        print(f"fulcrum: {API_KEY_VARIABLE} goes to {address} in the clear; --ca asks for TLS", file=sys.stderr)
    channel = connect(address, certificates=certificates)
    try:
        yield Client(channel, key=key)
    finally:
        await channel.close()
