"""The pipeline's ports over the contracts: one set for both bindings, since a channel may be a wire or this process."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from typing import Any, cast

import grpc
import structlog
from fulcrum.cache.v1 import cache_service_pb2 as cache_pb
from fulcrum.cache.v1.cache_service_pb2_grpc import CacheServiceStub
from fulcrum.embedding.v1 import embedding_pb2, embedding_service_pb2
from fulcrum.embedding.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from fulcrum.executor.v1 import executor_service_pb2 as executor_pb
from fulcrum.executor.v1.executor_service_pb2_grpc import ExecutorServiceStub
from fulcrum.router.v1 import router_service_pb2 as router_pb
from fulcrum.router.v1.router_service_pb2_grpc import RouterServiceStub
from google.protobuf.duration_pb2 import Duration

from services.chassis.call import new_request_id, outgoing
from services.chassis.errors import FulcrumError, PermissionDenied, Unauthenticated, Unavailable
from services.chassis.status import error_from
from services.edge import messages
from services.edge.chat import Delta, Finish, Objective, Request
from services.edge.ports import (
    EXECUTOR,
    Assessment,
    CacheKey,
    CatalogueModel,
    Circumstances,
    Draw,
    Embedding,
    Hit,
    Miss,
    Plan,
    Signals,
    StoredAnswer,
    Wait,
)

# What the router calls a thing, and what it is called in the client's request that it was read from.
_CLIENT_FIELDS = {"input_tokens": "messages", "needs_tools": "tools", "text": "messages"}
_CLIENT = "client"  # the source of what who asked says of an answer


async def _answer(method: Any, request: object, timeout_s: float, backend: str) -> Any:
    """One unary call under the current call's deadline; its failure as one of our errors."""
    timeout, metadata = outgoing(timeout_s)
    try:
        return await cast(Awaitable[Any], method(request, timeout=timeout, metadata=metadata))
    except grpc.aio.AioRpcError as error:
        raise _failure(error, backend) from error


def _failure(error: grpc.aio.AioRpcError, backend: str) -> FulcrumError:
    """The backend's error; one that says who edge is to it, or what edge may, is no fault of edge's caller."""
    found = error_from(error, backend)
    if not isinstance(found, Unauthenticated | PermissionDenied):
        return found
    structlog.get_logger("edge").error("refused by a backend", backend=backend, error=str(found))
    return Unavailable(backend, "it refuses edge's credentials", "a backend that lets edge in")


class EncoderBinding:
    """ports.Encoder over EmbeddingService."""

    def __init__(self, channel: grpc.aio.Channel, timeout_s: float) -> None:
        self._stub = EmbeddingServiceStub(channel)
        self._timeout_s = timeout_s

    async def embed(self, text: str) -> Embedding:
        """The text's embedding."""
        request = embedding_service_pb2.EmbedRequest(texts=[text])
        response = await _answer(self._stub.Embed, request, self._timeout_s, "encoder")
        vector = response.embeddings[0]
        return Embedding(vector.values, vector.dimension, vector.encoder_digest, vector.token_count, vector.truncated)


class CacheBinding:
    """ports.Cache over CacheService."""

    def __init__(self, channel: grpc.aio.Channel, timeout_s: float) -> None:
        self._stub = CacheServiceStub(channel)
        self._timeout_s = timeout_s

    async def lookup(
        self,
        key: CacheKey,
        embedding: Embedding | None,
        max_wrong_share: float,
        max_age_s: float | None,
        judges: bool = False,
        executes: bool = True,
    ) -> Hit | Miss:
        """An answer that may be served, or one to compare; exact matches only where no embedding is given."""
        request = _lookup(key, embedding, max_wrong_share, max_age_s, judges)
        request.only_if_cached = not executes
        return messages.found(await _answer(self._stub.Lookup, request, self._timeout_s, "cache"))

    async def lookup_or_wait(
        self,
        key: CacheKey,
        embedding: Embedding | None,
        max_wrong_share: float,
        max_age_s: float | None,
        judges: bool,
        waited_for: str,
    ) -> Hit | Miss | Wait:
        """As `lookup`, with a lease on a miss, or a twin's lease to wait for."""
        request = _lookup(key, embedding, max_wrong_share, max_age_s, judges)
        request.lease, request.waited_for = True, waited_for
        response = await _answer(self._stub.Lookup, request, self._timeout_s, "cache")
        if response.WhichOneof("outcome") == "wait":
            return Wait(response.wait.lease_id, messages.seconds(response.wait.retry_after))
        return messages.found(response)

    async def hold(self, tenant: str, lease_id: str, end: bool) -> bool:
        """Renews a lease, or ends it; tells whether it is held."""
        request = cache_pb.HoldLeaseRequest(scope=cache_pb.Scope(tenant=tenant), lease_id=lease_id, end=end)
        return bool((await _answer(self._stub.HoldLease, request, self._timeout_s, "cache")).held)

    async def store(
        self, key: CacheKey, embedding: Embedding | None, answer: StoredAnswer, ttl_s: float | None, lookup_id: str
    ) -> str:
        """Keeps an answer; durable when this returns. Says why it does not keep it, nothing where it does."""
        request = cache_pb.StoreRequest(
            scope=cache_pb.Scope(tenant=key.tenant),
            fingerprint=key.fingerprint,
            text=key.text,
            embedding=_vector(embedding),
            answer=cache_pb.Answer(
                text=answer.text,
                model=answer.model,
                input_tokens=answer.input_tokens,
                output_tokens=answer.output_tokens,
                cost_nano_usd=answer.cost_nano_usd,
            ),
            ttl=_duration(ttl_s),
            lookup_id=lookup_id,
            request_id=lookup_id or new_request_id(),
            principal=key.principal,
            caused_by=answer.caused_by,
            source="edge",
        )
        refused = (await _answer(self._stub.Store, request, self._timeout_s, "cache")).not_kept
        return cache_pb.NotKept.Name(refused).removeprefix("NOT_KEPT_").lower() if refused else ""

    async def judge(self, tenant: str, lookup_id: str, same: bool, source: str) -> None:
        """Tells whether a miss's candidate says the same as the answer that was made."""
        request = cache_pb.FeedbackRequest(
            scope=cache_pb.Scope(tenant=tenant),
            lookup_id=lookup_id,
            verdict=cache_pb.VERDICT_SAME if same else cache_pb.VERDICT_DIFFERENT,
            source=source,
        )
        await _answer(self._stub.Feedback, request, self._timeout_s, "cache")

    async def report(self, tenant: str, principal: str, lookup_id: str, right: bool) -> None:
        """Tells a client's word on the answer that a lookup served, or that was stored since."""
        request = cache_pb.FeedbackRequest(
            scope=cache_pb.Scope(tenant=tenant),
            lookup_id=lookup_id,
            verdict=cache_pb.VERDICT_RIGHT if right else cache_pb.VERDICT_WRONG,
            source=_CLIENT,
            principal=principal,
        )
        await _answer(self._stub.Feedback, request, self._timeout_s, "cache")


class RouterBinding:
    """ports.Router over RouterService."""

    def __init__(self, channel: grpc.aio.Channel, timeout_s: float) -> None:
        self._stub = RouterServiceStub(channel)
        self._timeout_s = timeout_s

    async def route(
        self, request: Request, embedding: Embedding | None, objective: Objective, known: Circumstances
    ) -> Plan:
        """The plan for this request."""
        message = router_pb.RouteRequest(
            text=request.text,
            embedding=_vector(embedding),
            objective=messages.objective_message(objective),
            max_output_tokens=request.sampling.max_output_tokens,
            needs_tools=bool(request.tools),
            input_bytes=request.size_bytes,
            current_model=known.current_model,
            cached_prefix_tokens=known.cached_prefix_tokens,
            earlier_turns=request.earlier_turns,
            answers_tool_call=request.messages[-1].role == "tool",
            measured_speeds=messages.speed_messages(known.speeds),
            tenant=request.tenant,
        )
        try:
            response = await _answer(self._stub.Route, message, self._timeout_s, "router")
        except FulcrumError as error:
            field = _CLIENT_FIELDS.get(error.field, error.field)
            raise type(error)(
                field, error.value, error.expected, reason=error.reason, retry_after_s=error.retry_after_s
            ) from error
        return messages.plan(response)

    async def assess(self, decision_id: str, signals: Signals) -> Assessment:
        """Whether the answer of a plan's first model will do."""
        told = router_pb.Signals(
            model=signals.model,
            complete=signals.complete,
            output_tokens=signals.output_tokens,
            mean_logprob=signals.mean_logprob,
            agreement=signals.agreement,
        )
        request = router_pb.AssessRequest(decision_id=decision_id, signals=told)
        response = await _answer(self._stub.Assess, request, self._timeout_s, "router")
        return Assessment(response.action == router_pb.ASSESS_ACTION_ACCEPT, response.explanation)

    async def feedback(self, decision_id: str, model: str, score: float, source: str, drawn: Draw) -> None:
        """Tells how good a model's answer to a decision was, and by which draw it was scored."""
        request = router_pb.FeedbackRequest(
            decision_id=decision_id,
            model=model,
            score=score,
            source=source,
            sampling_probability=drawn.probability,
            explored=drawn.explored,
        )
        await _answer(self._stub.Feedback, request, self._timeout_s, "router")

    async def report(self, tenant: str, decision_id: str, model: str, right: bool) -> None:
        """Tells a client's word on a model's answer to a decision of its tenant."""
        request = router_pb.FeedbackRequest(
            decision_id=decision_id, model=model, score=float(right), source=_CLIENT, tenant=tenant
        )
        await _answer(self._stub.Feedback, request, self._timeout_s, "router")

    async def catalogue(self) -> tuple[CatalogueModel, ...]:
        """Every model and its price, page by page."""
        models: list[CatalogueModel] = []
        token = ""
        while True:
            request = router_pb.ListModelsRequest(page_size=1000, page_token=token)
            page = await _answer(self._stub.ListModels, request, self._timeout_s, "router")
            models += [messages.catalogue_model(model) for model in page.models]
            token = page.next_page_token
            if not token:
                return tuple(models)


class ExecutorBinding:
    """ports.Executor over ExecutorService."""

    def __init__(self, channel: grpc.aio.Channel, timeout_s: float) -> None:
        self.replicas = len(getattr(channel, "replicas", "1"))  # a local channel reaches this process alone
        self._stub = ExecutorServiceStub(channel)
        self._timeout_s = timeout_s

    async def generate(self, model: str, request: Request) -> AsyncGenerator[Delta | Finish, None]:
        """Deltas, then one Finish; closing this generator cancels the model."""
        message = executor_pb.GenerateRequest(
            model=model,
            messages=[messages.chat_message(turn) for turn in request.messages],
            sampling=messages.sampling_message(request.sampling),
            tools=[messages.tool_message(tool) for tool in request.tools],
            prefix_scope=request.tenant,
        )
        timeout, metadata = outgoing(self._timeout_s)
        call: Any = self._stub.Generate(message, timeout=timeout, metadata=metadata)
        try:
            async for response in cast(AsyncIterator[executor_pb.GenerateResponse], call):
                yield messages.generated(response)
        except grpc.aio.AioRpcError as error:
            raise _failure(error, EXECUTOR) from error
        finally:
            call.cancel()


def _lookup(
    key: CacheKey, embedding: Embedding | None, max_wrong_share: float, max_age_s: float | None, judges: bool
) -> cache_pb.LookupRequest:
    return cache_pb.LookupRequest(
        scope=cache_pb.Scope(tenant=key.tenant),
        fingerprint=key.fingerprint,
        text=key.text,
        embedding=_vector(embedding),
        max_wrong_share=max_wrong_share,
        max_age=_duration(max_age_s),
        principal=key.principal,
        judges=judges,
    )


def _vector(embedding: Embedding | None) -> embedding_pb2.Embedding | None:
    if embedding is None:
        return None
    return embedding_pb2.Embedding(
        values=embedding.values,
        dimension=embedding.dimension,
        encoder_digest=embedding.encoder_digest,
        token_count=embedding.token_count,
        truncated=embedding.truncated,
    )


def _duration(seconds: float | None) -> Duration | None:
    return None if seconds is None else messages.duration(seconds)
