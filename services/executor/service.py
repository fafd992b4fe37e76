"""ExecutorService and EmbeddingService on the wire: messages to the domain and back."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import numpy as np
from fulcrum.embedding.v1 import embedding_pb2, embedding_service_pb2, embedding_service_pb2_grpc
from fulcrum.executor.v1 import executor_service_pb2, executor_service_pb2_grpc

from services.chassis.errors import Unavailable
from services.chassis.untorn import untorn
from services.executor import engine as domain
from services.executor import messages
from services.executor.encoder_batcher import EncoderBatcher
from services.executor.metrics import ExecutorMetrics
from services.executor.registry import ModelRegistry

DEFAULT_PAGE = 100


class ExecutorServicer(executor_service_pb2_grpc.ExecutorServiceServicer):
    """Serves the models of a registry."""

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry
        self.metrics = ExecutorMetrics(registry)

    async def Generate(
        self, request: executor_service_pb2.GenerateRequest, context: Any
    ) -> AsyncIterator[executor_service_pb2.GenerateResponse]:
        """Streams one answer; closing the stream closes the engine's."""
        model = self._registry.model(request.model)
        asked = messages.request(request)
        await untorn(context.send_initial_metadata(()))  # until it comes, clients that leave lose 200 bytes in gRPC
        self.metrics.begin(request.model)
        try:
            with model.using() as engine:
                async with aclosing(engine.generate(asked)) as events:
                    async for event in events:
                        if isinstance(event, domain.Finish):
                            model.answered(event.usage)
                            self.metrics.finished(engine.info, asked, event)
                        yield messages.response(event)
        finally:
            self.metrics.end(request.model)

    async def ListModels(
        self, request: executor_service_pb2.ListModelsRequest, context: Any
    ) -> executor_service_pb2.ListModelsResponse:
        """A page token is the last name of the page before."""
        models, more = self._registry.page(request.page_size or DEFAULT_PAGE, request.page_token)
        token = models[-1].name if more else ""
        return executor_service_pb2.ListModelsResponse(models=map(messages.model, models), next_page_token=token)

    async def LoadModel(
        self, request: executor_service_pb2.LoadModelRequest, context: Any
    ) -> executor_service_pb2.LoadModelResponse:
        """Answers once the model is ready."""
        model = self._registry.model(request.name)
        await model.load()
        return executor_service_pb2.LoadModelResponse(model=messages.model(model.info))

    async def UnloadModel(
        self, request: executor_service_pb2.UnloadModelRequest, context: Any
    ) -> executor_service_pb2.UnloadModelResponse:
        """Answers once the model is unloaded."""
        model = self._registry.model(request.name)
        await model.unload()
        return executor_service_pb2.UnloadModelResponse(model=messages.model(model.info))


class EmbeddingServicer(embedding_service_pb2_grpc.EmbeddingServiceServicer):
    """Serves one encoder once it is open."""

    def __init__(self) -> None:
        self._batcher: EncoderBatcher | None = None
        self._digest = ""

    def open(self, batcher: EncoderBatcher, digest: str) -> None:
        """Serves this encoder from now on."""
        self._batcher, self._digest = batcher, digest

    @property
    def waiting(self) -> int:
        """Texts admitted and not embedded yet."""
        return self._batcher.waiting if self._batcher else 0

    async def close(self) -> None:
        """Closes the encoder if one was opened."""
        if self._batcher:
            await self._batcher.close()

    async def Embed(
        self, request: embedding_service_pb2.EmbedRequest, context: Any
    ) -> embedding_service_pb2.EmbedResponse:
        """Embeds each text."""
        if self._batcher is None:
            raise Unavailable(
                "encoder", "still loading", "an encoder that has loaded", reason="STARTING", retry_after_s=1.0
            )
        embeddings = [
            embedding_pb2.Embedding(
                values=np.asarray(found.values, "<f4").tobytes(),
                dimension=len(found.values),
                encoder_digest=self._digest,
                token_count=found.token_count,
                truncated=found.truncated,
            )
            for found in await self._batcher.embed(request.texts)
        ]
        return embedding_service_pb2.EmbedResponse(embeddings=embeddings)
