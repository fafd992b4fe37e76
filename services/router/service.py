"""RouterService on the wire: messages to the domain and back."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from fulcrum.embedding.v1 import embedding_pb2
from fulcrum.router.v1 import objective_pb2, router_service_pb2, router_service_pb2_grpc
from google.protobuf.duration_pb2 import Duration

from services.chassis.errors import InvalidField, Unavailable
from services.router.assessment import Signals
from services.router.catalogue import Model
from services.router.metrics import RouterMetrics
from services.router.outcome_log import Draw
from services.router.plan import Plan
from services.router.predictor import Vector
from services.router.prices import ListPrice, MachinePrice
from services.router.query import Goal, Objective, Query
from services.router.router import Router
from services.router.speed import Speed

_DEFAULT_PAGE = 100


class RouterServicer(router_service_pb2_grpc.RouterServiceServicer):
    """Serves a router once it is loaded."""

    def __init__(self) -> None:
        self.metrics = RouterMetrics(lambda: self._loaded.promise if self._loaded else None)
        self._loaded: Router | None = None

    def open(self, router: Router) -> None:
        """Serves this router from now on."""
        self._loaded = router

    async def close(self) -> None:
        """Closes the router if one was opened."""
        if self._loaded:
            await self._loaded.close()

    @property
    def _router(self) -> Router:
        if self._loaded is None:
            raise Unavailable(
                "router", "still loading", "a router that has loaded", reason="STARTING", retry_after_s=1.0
            )
        return self._loaded

    async def Route(self, request: router_service_pb2.RouteRequest, context: Any) -> router_service_pb2.RouteResponse:
        """Plans, and remembers the plan."""
        router = self._router
        decision_id, plan = router.route(_query(request, router.objective))
        self.metrics.decided(plan)
        return _route_response(decision_id, plan)

    async def Assess(
        self, request: router_service_pb2.AssessRequest, context: Any
    ) -> router_service_pb2.AssessResponse:
        """Judges an answer against its plan."""
        told = request.signals
        certainty = told.mean_logprob if told.HasField("mean_logprob") else None
        agreement = told.agreement if told.HasField("agreement") else None
        signals = Signals(told.model, told.complete, told.output_tokens, certainty, agreement)
        found = self._router.assess(request.decision_id, signals)
        accept, escalate = router_service_pb2.ASSESS_ACTION_ACCEPT, router_service_pb2.ASSESS_ACTION_ESCALATE
        return router_service_pb2.AssessResponse(
            action=escalate if found.escalate_to else accept,
            escalate_to=found.escalate_to,
            explanation=found.explanation,
        )

    async def Feedback(
        self, request: router_service_pb2.FeedbackRequest, context: Any
    ) -> router_service_pb2.FeedbackResponse:
        """Logs the score where a log is set."""
        sampled = request.sampling_probability if request.HasField("sampling_probability") else None
        drawn = Draw(sampled, request.explored)
        tenant = request.tenant if request.HasField("tenant") else None
        await self._router.feedback(request.decision_id, request.model, request.score, request.source, drawn, tenant)
        return router_service_pb2.FeedbackResponse()

    async def ListModels(
        self, request: router_service_pb2.ListModelsRequest, context: Any
    ) -> router_service_pb2.ListModelsResponse:
        """The catalogue from the page token on, which is the first model's place."""
        models, promise = self._router.models, self._router.promise
        token = request.page_token or "0"
        if not token.isascii() or not token.isdigit() or int(token) > len(models):
            raise InvalidField("page_token", f"{len(token)} characters", "a next_page_token of ListModels")
        begin = int(token)
        end = begin + (request.page_size or _DEFAULT_PAGE)
        return router_service_pb2.ListModelsResponse(
            models=[_catalogue_model(model) for model in models[begin:end]],
            next_page_token=str(end) if end < len(models) else "",
            promise=router_service_pb2.PromiseState(
                suspended=promise.suspended,
                judged_answers=promise.judged,
                harmed_answers=promise.harmed,
                shift=promise.shift,
            ),
        )


def _query(request: router_service_pb2.RouteRequest, unset: Objective) -> Query:
    return Query(
        text=request.text,
        objective=_objective(request.objective, unset) if request.HasField("objective") else unset,
        vector=_vector(request.embedding) if request.HasField("embedding") else None,
        candidates=tuple(request.candidates),
        input_tokens=request.input_tokens,
        input_bytes=request.input_bytes,
        max_output_tokens=request.max_output_tokens if request.HasField("max_output_tokens") else None,
        needs_tools=request.needs_tools,
        current_model=request.current_model,
        cached_prefix_tokens=request.cached_prefix_tokens,
        earlier_turns=request.earlier_turns,
        answers_tool_call=request.answers_tool_call,
        speeds=_speeds(request.measured_speeds),
        tenant=request.tenant,
    )


def _objective(message: objective_pb2.Objective, unset: Objective) -> Objective:
    cost = message.max_cost_nano_usd if message.HasField("max_cost_nano_usd") else unset.max_cost_nano_usd
    latency_s = message.max_latency.ToNanoseconds() / 1e9 if message.HasField("max_latency") else unset.max_latency_s
    return Objective(
        max_quality_loss=message.max_quality_loss if message.HasField("max_quality_loss") else unset.max_quality_loss,
        confidence=message.confidence if message.HasField("confidence") else unset.confidence,
        max_cost_nano_usd=cost,
        max_latency_s=latency_s,
        allowed_models=tuple(message.allowed_models) or unset.allowed_models,
        denied_models=tuple(message.denied_models) or unset.denied_models,
        goal=Goal(objective_pb2.Goal.Name(message.goal).removeprefix("GOAL_")) if message.goal else unset.goal,
        whole_answer=message.whole_answer,
    )


def _speeds(messages: Iterable[router_service_pb2.MeasuredSpeed]) -> dict[str, Speed]:
    return {
        one.model: Speed(one.speed.first_token.ToNanoseconds() / 1e9, one.speed.output_tokens_per_second)
        for one in messages
    }


def _duration(seconds: float) -> Duration:
    message = Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message


def _vector(message: embedding_pb2.Embedding) -> Vector:
    if len(message.values) != 4 * message.dimension:
        got, expected = f"{len(message.values)} bytes", f"{4 * message.dimension} bytes, 4 for each of `dimension`"
        raise InvalidField("embedding.values", got, expected)
    return Vector(np.frombuffer(message.values, "<f4"), message.encoder_digest)


def _route_response(decision_id: str, plan: Plan) -> router_service_pb2.RouteResponse:
    return router_service_pb2.RouteResponse(
        decision_id=decision_id,
        plan=[
            router_service_pb2.PlannedModel(
                model=planned.model,
                predicted_quality=planned.quality,
                predicted_loss=planned.loss,
                expected_cost_nano_usd=planned.cost_nano_usd,
                expected_latency=None if planned.seconds is None else _duration(planned.seconds),
                may_stand_in=planned.may_stand_in,
            )
            for planned in plan.models
        ],
        reason=f"ROUTE_REASON_{plan.reason.value}",
        explanation=plan.explanation,
        predictor_version=plan.version,
        expected_kept=plan.check.expected_kept if plan.check else None,
        repeats=plan.check.repeats if plan.check else 0,
    )


def _catalogue_model(model: Model) -> router_service_pb2.CatalogueModel:
    message = router_service_pb2.CatalogueModel(
        name=model.name,
        context_tokens=model.context_tokens,
        domains=model.domains,
        supports_tools=model.supports_tools,
        is_default=model.is_default,
        bytes_per_token=model.bytes_per_token,
        expected_output_tokens=model.expected_output_tokens,
    )
    if model.speed:
        message.speed.first_token.CopyFrom(_duration(model.speed.first_token_s))
        message.speed.output_tokens_per_second = model.speed.output_tokens_per_second
    price = model.price
    if isinstance(price, ListPrice):
        message.list_price.input_usd_per_million_tokens = price.input_usd_per_million_tokens
        message.list_price.cached_input_usd_per_million_tokens = price.cached_input_usd_per_million_tokens
        message.list_price.cache_write_usd_per_million_tokens = price.cache_write_usd_per_million_tokens
        message.list_price.output_usd_per_million_tokens = price.output_usd_per_million_tokens
        for tier in price.tiers:
            message.list_price.tiers.add(
                above_input_tokens=tier.above_input_tokens,
                input_usd_per_million_tokens=tier.input_usd_per_million_tokens,
                cached_input_usd_per_million_tokens=tier.cached_input_usd_per_million_tokens,
                cache_write_usd_per_million_tokens=tier.cache_write_usd_per_million_tokens,
                output_usd_per_million_tokens=tier.output_usd_per_million_tokens,
            )
    elif isinstance(price, MachinePrice):
        message.machine_price.usd_per_hour = price.usd_per_hour
        seconds_input = price.reference_seconds_per_million_input_tokens
        message.machine_price.reference_seconds_per_million_input_tokens = seconds_input
        seconds_output = price.reference_seconds_per_million_output_tokens
        message.machine_price.reference_seconds_per_million_output_tokens = seconds_output
    return message
