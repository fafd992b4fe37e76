"""A client of a running suite, for the command line and the benchmarks."""

import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import grpc
from fulcrum.cache.v1 import cache_service_pb2 as cache_pb
from fulcrum.cache.v1.cache_service_pb2_grpc import CacheServiceStub
from fulcrum.edge.v1 import edge_service_pb2 as edge_pb
from fulcrum.edge.v1 import receipt_pb2
from fulcrum.edge.v1.edge_service_pb2_grpc import EdgeServiceStub
from fulcrum.embedding.v1 import embedding_pb2, embedding_service_pb2
from fulcrum.embedding.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from fulcrum.executor.v1 import executor_service_pb2 as executor_pb
from fulcrum.executor.v1.executor_service_pb2_grpc import ExecutorServiceStub
from fulcrum.router.v1 import router_service_pb2 as router_pb
from fulcrum.router.v1.router_service_pb2_grpc import RouterServiceStub

from services.chassis.access import ClientTlsSettings, is_loopback
from services.chassis.channel import connect
from services.chassis.errors import FulcrumError, Unavailable
from services.chassis.settings import ConfigError
from services.chassis.status import error_from, is_unanswered
from services.chassis.tls import ClientCertificates

API_KEY_VARIABLE = "FULCRUM_API_KEY"
_CLOSED = "it hangs up, as a server with TLS does without --tls or --ca, or one that wants a --certificate"
_MEANINGS = {  # of what gRPC's details hold
    "Connection refused": "nothing listens there, `fulcrum up` starts a suite; or TLS does, and wants --tls or --ca",
    "errors resolving": "there is no such name",
    "WRONG_VERSION_NUMBER": "TLS was asked for and is not spoken there",
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not of the authorities in --ca, or of a public one without",
    "Hostname Verification": "its certificate is for another name",
    ": Socket closed": _CLOSED,
    "Connection reset by peer": _CLOSED,
    "HTTP/2": "what listens there speaks no gRPC",
}


class NotServed(Unavailable):
    """A server answers at the address, and does not serve what was asked."""


@dataclass(frozen=True)
class Completion:
    """A whole answer and its receipt."""

    text: str
    receipt: receipt_pb2.Receipt


class Client:
    """Calls of a suite at one address, with a key if there is one; errors come as services.chassis.errors."""

    def __init__(
        self, channel: grpc.aio.Channel, address: str, timeout_s: float = 120.0, key: str | None = None
    ) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._metadata = (("authorization", f"Bearer {key}"),) if key else ()
        self._edge = EdgeServiceStub(channel)
        self._cache = CacheServiceStub(channel)
        self._router = RouterServiceStub(channel)
        self._executor = ExecutorServiceStub(channel)
        self._encoder = EmbeddingServiceStub(channel)

    async def stream(self, request: edge_pb.CompleteRequest) -> AsyncGenerator[edge_pb.CompleteResponse, None]:
        """The events of one answer."""
        call: Any = self._edge.Complete(request, timeout=self._timeout_s, metadata=self._metadata)
        try:
            async for event in cast(AsyncIterator[edge_pb.CompleteResponse], call):
                yield event
        except grpc.aio.AioRpcError as error:
            raise self._failure(error) from error
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

    async def feedback(self, request: edge_pb.FeedbackRequest) -> None:
        """Tells whether an answer was right."""
        await self._call(self._edge.Feedback, request)

    async def cache_stats(self) -> cache_pb.StatsResponse:
        """The cache's counts and sizes."""
        return cast(cache_pb.StatsResponse, await self._call(self._cache.Stats, cache_pb.StatsRequest()))

    async def entries(self, request: cache_pb.ListEntriesRequest) -> cache_pb.ListEntriesResponse:
        """A page of one tenant's entries."""
        return cast(cache_pb.ListEntriesResponse, await self._call(self._cache.ListEntries, request))

    async def entry(self, request: cache_pb.GetEntryRequest) -> cache_pb.StoredEntry:
        """One entry, whole."""
        return cast(cache_pb.StoredEntry, (await self._call(self._cache.GetEntry, request)).entry)

    async def purge(self, request: cache_pb.InvalidateRequest) -> int:
        """Removes entries; returns how many."""
        return int((await self._call(self._cache.Invalidate, request)).removed)

    async def export(self, tenant: str) -> AsyncGenerator[cache_pb.StoredEntry, None]:
        """Every entry, of one tenant or of all."""
        token = ""
        while True:
            request = cache_pb.ExportEntriesRequest(tenant=tenant, page_size=1000, page_token=token)
            page = await self._call(self._cache.ExportEntries, request)
            for entry in page.entries:
                yield entry
            token = page.next_page_token
            if not token:
                return

    async def take_in(self, request: cache_pb.ImportEntriesRequest) -> cache_pb.ImportEntriesResponse:
        """Keeps exported entries."""
        return cast(cache_pb.ImportEntriesResponse, await self._call(self._cache.ImportEntries, request))

    async def warm_up(self, request: cache_pb.WarmUpRequest) -> cache_pb.WarmUpResponse:
        """Teaches a tenant's scope."""
        return cast(cache_pb.WarmUpResponse, await self._call(self._cache.WarmUp, request))

    async def without(self, encoder_digest: str, token: str, size: int) -> cache_pb.ExportEntriesResponse:
        """A page of the entries that have no vector of this encoder."""
        request = cache_pb.ExportEntriesRequest(without_encoder_digest=encoder_digest, page_size=size, page_token=token)
        return cast(cache_pb.ExportEntriesResponse, await self._call(self._cache.ExportEntries, request))

    async def give_vectors(self, request: cache_pb.EmbedEntriesRequest) -> cache_pb.EmbedEntriesResponse:
        """Gives entries other vectors."""
        return cast(cache_pb.EmbedEntriesResponse, await self._call(self._cache.EmbedEntries, request))

    async def embed(self, texts: Sequence[str]) -> list[embedding_pb2.Embedding]:
        """One embedding a text."""
        request = embedding_service_pb2.EmbedRequest(texts=texts)
        return list((await self._call(self._encoder.Embed, request)).embeddings)

    async def catalogue(self) -> list[router_pb.CatalogueModel]:
        """The router's models."""
        request = router_pb.ListModelsRequest(page_size=1000)
        return list((await self._call(self._router.ListModels, request)).models)

    async def promise(self) -> router_pb.PromiseState:
        """What the router knows of its promise."""
        answer = await self._call(self._router.ListModels, router_pb.ListModelsRequest(page_size=1))
        return cast(router_pb.PromiseState, answer.promise)

    async def engines(self) -> list[executor_pb.Model]:
        """The executor's models."""
        request = executor_pb.ListModelsRequest(page_size=1000)
        return list((await self._call(self._executor.ListModels, request)).models)

    async def load(self, model: str) -> executor_pb.Model:
        """A model, once the executor has loaded it."""
        answer = await self._call(self._executor.LoadModel, executor_pb.LoadModelRequest(name=model))
        return cast(executor_pb.Model, answer.model)

    async def unload(self, model: str) -> executor_pb.Model:
        """A model, once its answers under way have ended and the executor has unloaded it."""
        answer = await self._call(self._executor.UnloadModel, executor_pb.UnloadModelRequest(name=model))
        return cast(executor_pb.Model, answer.model)

    async def _call(self, method: Any, request: object) -> Any:
        try:
            return await method(request, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise self._failure(error) from error

    def _failure(self, error: grpc.aio.AioRpcError) -> FulcrumError:
        """The server's own error where it sent one; else what is known of why none of ours answered."""
        found = error_from(error, "suite")
        details = " ".join((error.details() or "nothing more is known").split())
        if is_unanswered(error) and error.code() is grpc.StatusCode.UNIMPLEMENTED:
            return NotServed("--address", self._address, f"an address that serves what was asked (gRPC: {details})")
        if not found.unanswered:
            return found
        meaning = next((f": {text}" for sign, text in _MEANINGS.items() if sign in details), "")
        told = f"a suite that answers{meaning} (gRPC: {error.code().name}, {details})"
        unanswered = Unavailable("--address", self._address, told)
        unanswered.unanswered = True
        return unanswered


@asynccontextmanager
async def client(
    address: str,
    tls: ClientTlsSettings | None = None,
    environment: Mapping[str, str] = os.environ,
    plaintext_key: bool = False,
) -> AsyncIterator[Client]:
    """A client of the suite at `address`.

    Args:
        address: host:port.
        tls: how the connection is secured; no TLS where None.
        environment: holds the API key, if the suite asks for one.
        plaintext_key: lets the key travel unencrypted to another machine.

    Raises:
        ConfigError: a certificate cannot be used, or the key cannot be sent or would travel in the clear.
    """
    certificates = _certificates(tls) if tls else None
    key = environment.get(API_KEY_VARIABLE, "").strip() or None
    if key and not (key.isascii() and key.isprintable()):
        raise ConfigError(
            f"{API_KEY_VARIABLE}: got what is not printable ASCII, expected a key that `fulcrum keys create` made"
        )
    if key and not certificates and not plaintext_key and not _on_this_machine(address):
        raise ConfigError(
            f"--tls or --ca: got neither for {address}, expected TLS, as the key in {API_KEY_VARIABLE} travels with "
            "every call; --plaintext-key where something on the way encrypts"
        )
    channel = connect(address, certificates=certificates)
    try:
        yield Client(channel, address, key=key)
    finally:
        await channel.close()


def _certificates(tls: ClientTlsSettings) -> ClientCertificates:
    """What secures the connection; a file that cannot be used is named with its argument."""
    for name, path in (("--ca", tls.ca), ("--certificate", tls.certificate)):
        if path:  # each by itself first, as one that verifies, so that what is left is the key's fault
            ClientCertificates(ClientTlsSettings(ca=path), name)
    return ClientCertificates(tls, f"--key {tls.key}, with --certificate")


def _on_this_machine(address: str) -> bool:
    hosts = [one.removeprefix("ipv4:").removeprefix("ipv6:") for one in address.split(",")]
    return all(one.startswith("unix:") or is_loopback(one.rpartition(":")[0] or one) for one in hosts)
