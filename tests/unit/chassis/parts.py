"""A service of two real contracts whose behaviour each test sets, and both ways to reach it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from fulcrum.embedding.v1 import embedding_pb2
from fulcrum.embedding.v1.embedding_service_pb2 import EmbedRequest, EmbedResponse
from fulcrum.embedding.v1.embedding_service_pb2_grpc import (
    EmbeddingServiceServicer,
    EmbeddingServiceStub,
    add_EmbeddingServiceServicer_to_server,
)
from fulcrum.executor.v1 import chat_pb2
from fulcrum.executor.v1.executor_service_pb2 import (
    GenerateRequest,
    GenerateResponse,
    ListModelsRequest,
    ListModelsResponse,
    LoadModelRequest,
    LoadModelResponse,
    TextDelta,
    UnloadModelRequest,
    UnloadModelResponse,
)
from fulcrum.executor.v1.executor_service_pb2_grpc import (
    ExecutorServiceServicer,
    ExecutorServiceStub,
    add_ExecutorServiceServicer_to_server,
)
from google.rpc import error_details_pb2, status_pb2

from services.chassis.channel import connect
from services.chassis.server import Component, ServerProcess
from services.chassis.settings import ServerSettings
from services.chassis.status import DETAILS_KEY

EMBEDDING = "fulcrum.embedding.v1.EmbeddingService"
EXECUTOR = "fulcrum.executor.v1.ExecutorService"
BINDINGS = ("local", "grpc")


async def _embed(_: EmbedRequest) -> EmbedResponse:
    return EmbedResponse(embeddings=[embedding_pb2.Embedding(dimension=3)])


async def _generate(_: GenerateRequest) -> AsyncGenerator[GenerateResponse, None]:
    for text in ("one", "two", "three"):
        yield delta(text)


@dataclass
class Scripted(EmbeddingServiceServicer, ExecutorServiceServicer):
    """Answers as `embed` and `generate` say; what a handler leaves behind is told by `ended`."""

    embed: Callable[[EmbedRequest], Awaitable[EmbedResponse]] = _embed
    generate: Callable[[GenerateRequest], AsyncGenerator[GenerateResponse, None]] = _generate
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def Embed(self, request: EmbedRequest, context: Any) -> EmbedResponse:
        self.begun.set()
        try:
            return await self.embed(request)
        finally:
            self.ended.set()

    async def Generate(self, request: GenerateRequest, context: Any) -> AsyncIterator[GenerateResponse]:
        self.begun.set()
        try:
            async for response in self.generate(request):
                yield response
        finally:
            self.ended.set()

    async def ListModels(self, request: ListModelsRequest, context: Any) -> ListModelsResponse:
        return ListModelsResponse()

    async def LoadModel(self, request: LoadModelRequest, context: Any) -> LoadModelResponse:
        return LoadModelResponse()

    async def UnloadModel(self, request: UnloadModelRequest, context: Any) -> UnloadModelResponse:
        return UnloadModelResponse()

    def component(
        self,
        start: Callable[[], Awaitable[None]] | None = None,
        close: Callable[[], Awaitable[None]] | None = None,
    ) -> Component:
        async def nothing() -> None:
            pass

        def register(server: grpc.aio.Server) -> None:
            add_EmbeddingServiceServicer_to_server(self, server)
            add_ExecutorServiceServicer_to_server(self, server)

        services, everything = (EMBEDDING, EXECUTOR), frozenset({"Embed", "Generate", "ListModels"})
        return Component("scripted", services, register, start or nothing, close or nothing, for_tenants=everything)


@dataclass(frozen=True)
class Reached:
    """A scripted service and stubs that reach it, loosely typed as tests send what no typed caller would."""

    process: ServerProcess
    service: Scripted
    channel: grpc.aio.Channel
    embedding: Any
    executor: Any

    def under_way(self) -> float:
        """Calls that the metrics count as not ended."""
        gauge = next(one for one in self.process.registry.collect() if one.name == "fulcrum_rpc_server_active")
        return sum(sample.value for sample in gauge.samples)

    def sample(self, name: str, **labels: str) -> float:
        """The value of one metric; 0 where it has never been counted."""
        return self.process.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def reached(binding: str, **settings: Any) -> AsyncIterator[Reached]:
    """A scripted service reached by the local channel or over a socket."""
    process = ServerProcess(ServerSettings(port=0, drain_s=0.2, **settings))
    service = Scripted()
    if binding == "local":
        channel = process.local_channel([service.component()])
        yield Reached(process, service, channel, EmbeddingServiceStub(channel), ExecutorServiceStub(channel))
        await channel.close()
        return
    async with serving(process, service.component()) as port:
        channel = connect(f"127.0.0.1:{port}")
        yield Reached(process, service, channel, EmbeddingServiceStub(channel), ExecutorServiceStub(channel))
        await channel.close()


@asynccontextmanager
async def serving(process: ServerProcess, *components: Component) -> AsyncIterator[int]:
    """A server process on its port until the end of the block."""
    stop = asyncio.Event()
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(process.serve(components, stop, port.set_result))
    either: list[asyncio.Future[Any]] = [serving, port]
    done, _ = await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if serving in done:
        await serving
    try:
        yield await port
    finally:
        stop.set()
        await serving


def delta(text: str) -> GenerateResponse:
    return GenerateResponse(text_delta=TextDelta(text=text))


def texts(*given: str) -> EmbedRequest:
    return EmbedRequest(texts=given or ("x",))


def prompt(text: str = "x", model: str = "m") -> GenerateRequest:
    return GenerateRequest(model=model, messages=[chat_pb2.Message(role=chat_pb2.ROLE_USER, content=text)])


def details_of(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    """The details of a status by the short name of their type."""
    kinds = {
        "ErrorInfo": error_details_pb2.ErrorInfo,
        "BadRequest": error_details_pb2.BadRequest,
        "RetryInfo": error_details_pb2.RetryInfo,
    }
    found: dict[str, Any] = {}
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            status = status_pb2.Status.FromString(value)
            assert status.code == error.code().value[0]
            assert status.message == error.details()
            for detail in status.details:
                message = kinds[detail.TypeName().rsplit(".", 1)[-1]]()
                detail.Unpack(message)
                found[type(message).__name__] = message
    return found


async def heard(stream: Any, into: list[str]) -> None:
    """Collects a stream's texts until it ends or fails."""
    async for event in stream:
        into.append(event.text_delta.text)


async def refused(answer: Any) -> grpc.aio.AioRpcError:
    """The status that a unary call or a stream is refused with, before any message."""
    try:
        if hasattr(answer, "__aiter__"):
            async for event in answer:
                pytest.fail(f"expected a status, got {event}")
        else:
            pytest.fail(f"expected a status, got {await answer}")
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError("expected a status, got an empty stream")
