"""ExecutorService and EmbeddingService on the wire: messages to the domain and back."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import numpy as np
from fulcrum.embedding.v1 import embedding_pb2, embedding_service_pb2, embedding_service_pb2_grpc
from fulcrum.executor.v1 import chat_pb2, executor_service_pb2, executor_service_pb2_grpc
from google.protobuf.duration_pb2 import Duration

from services.chassis.call import tenant_of
from services.chassis.errors import Unavailable
from services.chassis.untorn import untorn
from services.executor import engine as domain
from services.executor.encoder_batcher import EncoderBatcher
from services.executor.metrics import ExecutorMetrics
from services.executor.registry import ModelRegistry

DEFAULT_PAGE = 100
ROLES: dict[int, domain.Role] = {
    chat_pb2.ROLE_SYSTEM: "system",
    chat_pb2.ROLE_USER: "user",
    chat_pb2.ROLE_ASSISTANT: "assistant",
    chat_pb2.ROLE_TOOL: "tool",
}
REASONS = {
    domain.FinishReason.STOP: chat_pb2.FINISH_REASON_STOP,
    domain.FinishReason.LENGTH: chat_pb2.FINISH_REASON_LENGTH,
    domain.FinishReason.TOOL_CALLS: chat_pb2.FINISH_REASON_TOOL_CALLS,
    domain.FinishReason.CONTENT_FILTER: chat_pb2.FINISH_REASON_CONTENT_FILTER,
}
KINDS = {
    domain.ModelKind.LOCAL: executor_service_pb2.MODEL_KIND_LOCAL,
    domain.ModelKind.REMOTE: executor_service_pb2.MODEL_KIND_REMOTE,
}
STATES = {
    domain.ModelState.LOADING: executor_service_pb2.MODEL_STATE_LOADING,
    domain.ModelState.READY: executor_service_pb2.MODEL_STATE_READY,
    domain.ModelState.FAILED: executor_service_pb2.MODEL_STATE_FAILED,
}


class ExecutorServicer(executor_service_pb2_grpc.ExecutorServiceServicer):
    """Serves the models of a registry."""

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry
        self.metrics = ExecutorMetrics(registry)

    async def Generate(
        self, request: executor_service_pb2.GenerateRequest, context: Any
    ) -> AsyncIterator[executor_service_pb2.GenerateResponse]:
        """Streams one answer; closing the stream closes the engine's."""
        engine = self._registry.engine(request.model)
        asked = _request(request)
        await untorn(context.send_initial_metadata(()))  # until it comes, clients that leave lose 200 bytes in gRPC
        self.metrics.begin(request.model)
        try:
            async with aclosing(engine.generate(asked)) as events:
                async for event in events:
                    if isinstance(event, domain.Finish):
                        self.metrics.finished(engine.info, asked, event)
                    yield _response(event)
        finally:
            self.metrics.end(request.model)

    async def ListModels(
        self, request: executor_service_pb2.ListModelsRequest, context: Any
    ) -> executor_service_pb2.ListModelsResponse:
        """A page token is the last name of the page before."""
        models, more = self._registry.page(request.page_size or DEFAULT_PAGE, request.page_token)
        token = models[-1].name if more else ""
        return executor_service_pb2.ListModelsResponse(models=map(_model, models), next_page_token=token)


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


def _request(message: executor_service_pb2.GenerateRequest) -> domain.GenerateRequest:
    tools = (domain.Tool(tool.name, tool.description, tool.parameters_json_schema) for tool in message.tools)
    turns = tuple(_turn(turn) for turn in message.messages)
    tenant = tenant_of(message.prefix_scope)
    return domain.GenerateRequest(message.model, turns, _sampling(message.sampling), tuple(tools), tenant)


def _turn(message: chat_pb2.Message) -> domain.Message:
    calls = (domain.ToolCall(call.call_id, call.name, call.arguments_json) for call in message.tool_calls)
    return domain.Message(ROLES[message.role], message.content, tuple(calls), message.tool_call_id)


def _sampling(message: chat_pb2.Sampling) -> domain.Sampling:
    return domain.Sampling(
        max_output_tokens=message.max_output_tokens if message.HasField("max_output_tokens") else None,
        temperature=message.temperature if message.HasField("temperature") else None,
        top_p=message.top_p if message.HasField("top_p") else None,
        top_k=message.top_k if message.HasField("top_k") else None,
        seed=message.seed if message.HasField("seed") else None,
        stop=tuple(message.stop),
    )


def _response(event: domain.Event) -> executor_service_pb2.GenerateResponse:
    if isinstance(event, domain.TextDelta):
        return executor_service_pb2.GenerateResponse(
            text_delta=executor_service_pb2.TextDelta(text=event.text), spent=_spent(event.spent)
        )
    if isinstance(event, domain.ToolCallDelta):
        piece = executor_service_pb2.ToolCallDelta(
            index=event.index, call_id=event.call_id, name=event.name, arguments_json=event.arguments_json
        )
        return executor_service_pb2.GenerateResponse(tool_call_delta=piece)
    return executor_service_pb2.GenerateResponse(finish=_finish(event))


def _spent(spent: domain.Spent | None) -> executor_service_pb2.Spent | None:
    if spent is None:
        return None
    return executor_service_pb2.Spent(usage=_usage(spent.usage), machine=_duration(spent.machine_s))


def _finish(event: domain.Finish) -> executor_service_pb2.Finish:
    usage = None if event.usage is None else _usage(event.usage)
    timing = executor_service_pb2.Timing(
        queue=_duration(event.timing.queue_s),
        first_token=_duration(event.timing.first_token_s),
        total=_duration(event.timing.total_s),
        machine=_duration(event.timing.machine_s),
    )
    return executor_service_pb2.Finish(
        reason=REASONS[event.reason], usage=usage, timing=timing, mean_logprob=event.mean_logprob
    )


def _usage(usage: domain.Usage) -> chat_pb2.Usage:
    return chat_pb2.Usage(
        input_tokens=usage.input_tokens,
        cached_input_tokens=usage.cached_input_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        output_tokens=usage.output_tokens,
    )


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration


def _model(info: domain.ModelInfo) -> executor_service_pb2.Model:
    return executor_service_pb2.Model(
        name=info.name,
        kind=KINDS[info.kind],
        state=STATES[info.state],
        context_tokens=info.context_tokens,
        precision=info.precision,
        digest=info.digest,
        supports_tools=info.supports_tools,
    )
