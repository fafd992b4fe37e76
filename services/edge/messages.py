"""Between the contracts' messages and edge's own types, in both directions."""

from collections.abc import Iterable, Mapping

from fulcrum.cache.v1 import cache_service_pb2 as cache_pb
from fulcrum.edge.v1 import edge_service_pb2 as edge_pb
from fulcrum.executor.v1 import chat_pb2
from fulcrum.executor.v1 import executor_service_pb2 as executor_pb
from fulcrum.router.v1 import objective_pb2
from fulcrum.router.v1 import router_service_pb2 as router_pb
from google.protobuf.duration_pb2 import Duration

from services.edge import chat, ports
from services.edge.price import ListPrice, MachinePrice, Price, PriceTier

_ROLES = {
    "system": chat_pb2.ROLE_SYSTEM,
    "user": chat_pb2.ROLE_USER,
    "assistant": chat_pb2.ROLE_ASSISTANT,
    "tool": chat_pb2.ROLE_TOOL,
}
_ROLE_NAMES = {value: name for name, value in _ROLES.items()}
FINISH = {
    chat.FinishReason.STOP: chat_pb2.FINISH_REASON_STOP,
    chat.FinishReason.LENGTH: chat_pb2.FINISH_REASON_LENGTH,
    chat.FinishReason.TOOL_CALLS: chat_pb2.FINISH_REASON_TOOL_CALLS,
    chat.FinishReason.CONTENT_FILTER: chat_pb2.FINISH_REASON_CONTENT_FILTER,
}
_FINISH_NAMES = {value: name for name, value in FINISH.items()}


def duration(seconds: float) -> Duration:
    """Seconds as a Duration, to the nanosecond."""
    message = Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message


def seconds(message: Duration) -> float:
    """A Duration as seconds."""
    return message.seconds + message.nanos / 1e9


def request(message: edge_pb.CompleteRequest, tenant: str, request_id: str, principal: str) -> chat.Request:
    """A client's request."""
    control = message.cache_control
    told = message.sampling.HasField("top_logprobs")  # what the cache keeps has no probabilities
    return chat.Request(
        message.request_id or request_id,
        tenant,
        tuple(_turn(turn) for turn in message.messages),
        _objective(message.objective),
        _sampling(message.sampling),
        tuple(chat.Tool(tool.name, tool.description, tool.parameters_json_schema) for tool in message.tools),
        chat.CacheControl(
            control.no_cache or told,
            control.no_store or told,
            seconds(control.max_age) if control.HasField("max_age") else None,
            seconds(control.ttl) if control.HasField("ttl") else None,
            control.only_if_cached,
            control.store_sampled,
        ),
        principal,
    )


def _turn(message: chat_pb2.Message) -> chat.Message:
    calls = tuple(chat.ToolCall(call.call_id, call.name, call.arguments_json) for call in message.tool_calls)
    return chat.Message(_ROLE_NAMES[message.role], message.content, calls, message.tool_call_id)


def _objective(message: objective_pb2.Objective) -> chat.Objective:
    return chat.Objective(
        message.max_quality_loss if message.HasField("max_quality_loss") else None,
        message.confidence if message.HasField("confidence") else None,
        message.max_cost_nano_usd if message.HasField("max_cost_nano_usd") else None,
        seconds(message.max_latency) if message.HasField("max_latency") else None,
        tuple(message.allowed_models),
        tuple(message.denied_models),
        objective_pb2.Goal.Name(message.goal).removeprefix("GOAL_") if message.goal else None,
        message.whole_answer,
    )


def _sampling(message: chat_pb2.Sampling) -> chat.Sampling:
    return chat.Sampling(
        message.max_output_tokens if message.HasField("max_output_tokens") else None,
        message.temperature if message.HasField("temperature") else None,
        message.top_p if message.HasField("top_p") else None,
        message.top_k if message.HasField("top_k") else None,
        message.seed if message.HasField("seed") else None,
        tuple(message.stop),
        message.response_format.json_schema if message.HasField("response_format") else None,
        message.top_logprobs if message.HasField("top_logprobs") else None,
    )


def chat_message(turn: chat.Message) -> chat_pb2.Message:
    """One turn."""
    calls = [
        chat_pb2.ToolCall(call_id=c.call_id, name=c.name, arguments_json=c.arguments_json) for c in turn.tool_calls
    ]
    return chat_pb2.Message(
        role=_ROLES[turn.role], content=turn.content, tool_calls=calls, tool_call_id=turn.tool_call_id
    )


def sampling_message(sampling: chat.Sampling) -> chat_pb2.Sampling:
    """How tokens are chosen; what is None stays unset."""
    return chat_pb2.Sampling(
        max_output_tokens=sampling.max_output_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        seed=sampling.seed,
        stop=sampling.stop,
        response_format=chat_pb2.ResponseFormat(json_schema=sampling.json_schema) if sampling.json_schema else None,
        top_logprobs=sampling.top_logprobs,
    )


def tool_message(tool: chat.Tool) -> chat_pb2.Tool:
    """One function."""
    return chat_pb2.Tool(
        name=tool.name, description=tool.description, parameters_json_schema=tool.parameters_json_schema
    )


def objective_message(objective: chat.Objective) -> objective_pb2.Objective:
    """What the caller wants; what is None stays unset."""
    return objective_pb2.Objective(
        max_quality_loss=objective.max_quality_loss,
        confidence=objective.confidence,
        max_cost_nano_usd=objective.max_cost_nano_usd,
        max_latency=None if objective.max_latency_s is None else duration(objective.max_latency_s),
        allowed_models=objective.allowed_models,
        denied_models=objective.denied_models,
        goal=f"GOAL_{objective.goal}" if objective.goal else None,
        whole_answer=objective.whole_answer,
    )


def speed_messages(speeds: Mapping[str, ports.Speed]) -> Iterable[router_pb.MeasuredSpeed]:
    """How fast models were."""
    for model, speed in speeds.items():
        told = router_pb.Speed(
            first_token=duration(speed.first_token_s), output_tokens_per_second=speed.output_tokens_per_second
        )
        yield router_pb.MeasuredSpeed(model=model, speed=told)


def planned_message(planned: chat.PlannedModel) -> router_pb.PlannedModel:
    """One model of a plan; what is None stays unset."""
    return router_pb.PlannedModel(
        model=planned.model,
        predicted_quality=planned.predicted_quality,
        predicted_loss=planned.predicted_loss,
        expected_cost_nano_usd=planned.cost_nano_usd,
        expected_latency=None if planned.seconds is None else duration(planned.seconds),
        may_stand_in=planned.may_stand_in,
    )


def usage_message(usage: chat.Usage | None) -> chat_pb2.Usage | None:
    """Tokens; what is None stays unset."""
    if usage is None:
        return None
    return chat_pb2.Usage(
        input_tokens=usage.input_tokens,
        cached_input_tokens=usage.cached_input_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        output_tokens=usage.output_tokens,
    )


def delta_message(delta: chat.Delta) -> edge_pb.CompleteResponse:
    """A piece of an answer."""
    if isinstance(delta, chat.TextDelta):
        told = map(_logprob_message, delta.logprobs)
        return edge_pb.CompleteResponse(text_delta=executor_pb.TextDelta(text=delta.text, logprobs=told))
    return edge_pb.CompleteResponse(
        tool_call_delta=executor_pb.ToolCallDelta(
            index=delta.index, call_id=delta.call_id, name=delta.name, arguments_json=delta.arguments_json
        )
    )


def _logprob_message(told: chat.TokenLogprob) -> chat_pb2.TokenLogprob:
    others = [chat_pb2.AlternativeToken(token=one.token, logprob=one.logprob) for one in told.alternatives]
    return chat_pb2.TokenLogprob(token=told.token, logprob=told.logprob, alternatives=others)


def generated(message: executor_pb.GenerateResponse) -> chat.Delta | chat.Finish:
    """One event of the executor's stream."""
    event = message.WhichOneof("event")
    if event == "text_delta":
        spent = _spent(message) if message.HasField("spent") else None
        return chat.TextDelta(message.text_delta.text, spent, tuple(map(_logprob, message.text_delta.logprobs)))
    if event == "tool_call_delta":
        call = message.tool_call_delta
        return chat.ToolCallDelta(call.index, call.call_id, call.name, call.arguments_json)
    finish = message.finish
    usage = _usage(finish.usage) if finish.HasField("usage") else None
    return chat.Finish(_FINISH_NAMES[finish.reason], usage, seconds(finish.timing.machine))


def _logprob(message: chat_pb2.TokenLogprob) -> chat.TokenLogprob:
    others = tuple(chat.AlternativeToken(one.token, one.logprob) for one in message.alternatives)
    return chat.TokenLogprob(message.token, message.logprob, others)


def _spent(message: executor_pb.GenerateResponse) -> chat.Spent:
    return chat.Spent(_usage(message.spent.usage), seconds(message.spent.machine))


def _usage(usage: chat_pb2.Usage) -> chat.Usage:
    return chat.Usage(usage.input_tokens, usage.cached_input_tokens, usage.cache_write_tokens, usage.output_tokens)


def found(message: cache_pb.LookupResponse) -> ports.Hit | ports.Miss:
    """An answer, or none and why, in a sentence."""
    outcome = message.WhichOneof("outcome")
    if outcome == "hit":
        hit, answer = message.hit, message.hit.answer
        kind = "exact_hit" if hit.kind == cache_pb.MATCH_KIND_EXACT else "semantic_hit"
        said = answer.text, answer.model, answer.input_tokens, answer.output_tokens
        return ports.Hit(message.lookup_id, kind, *said, hit.probability, hit.similarity)
    if outcome == "audit":
        audit = message.audit
        why = f"audited with probability {audit.propensity:.3f}: " if audit.would_be_hit else ""
        leased = _lease(audit.lease_id, message)
        return ports.Miss(message.lookup_id, why + audit.explanation, audit.answer.text, leased, audit.would_be_hit)
    lease = _lease(message.miss.lease_id, message)
    return ports.Miss(message.lookup_id, message.miss.explanation, lease=lease)


def _lease(lease_id: str, message: cache_pb.LookupResponse) -> ports.Lease | None:
    return ports.Lease(lease_id, seconds(message.lease_lapses_after)) if lease_id else None


def plan(message: router_pb.RouteResponse) -> ports.Plan:
    """The router's plan."""
    models = tuple(
        chat.PlannedModel(
            planned.model,
            planned.predicted_quality if planned.HasField("predicted_quality") else None,
            planned.predicted_loss if planned.HasField("predicted_loss") else None,
            planned.expected_cost_nano_usd if planned.HasField("expected_cost_nano_usd") else None,
            seconds(planned.expected_latency) if planned.HasField("expected_latency") else None,
            planned.may_stand_in,
        )
        for planned in message.plan
    )
    kept = message.expected_kept if message.HasField("expected_kept") else None
    return ports.Plan(message.decision_id, models, message.explanation, kept, message.repeats)


def catalogue_model(message: router_pb.CatalogueModel) -> ports.CatalogueModel:
    """One model of the router's catalogue."""
    price: Price | None = None
    kind = message.WhichOneof("price")
    if kind == "list_price":
        listed = message.list_price
        price = ListPrice(*_amounts(listed), tuple(PriceTier(t.above_input_tokens, *_amounts(t)) for t in listed.tiers))
    elif kind == "machine_price":
        machine = message.machine_price
        price = MachinePrice(
            machine.usd_per_hour,
            machine.reference_seconds_per_million_input_tokens,
            machine.reference_seconds_per_million_output_tokens,
        )
    speed = message.speed
    return ports.CatalogueModel(
        name=message.name,
        is_default=message.is_default,
        price=price,
        context_tokens=message.context_tokens,
        supports_tools=message.supports_tools,
        bytes_per_token=message.bytes_per_token or 1.0,
        expected_output_tokens=message.expected_output_tokens,
        speed=ports.Speed(seconds(speed.first_token), speed.output_tokens_per_second)
        if message.HasField("speed")
        else None,
    )


def _amounts(price: router_pb.ListPrice | router_pb.PriceTier) -> tuple[float, float, float, float]:
    return (
        price.input_usd_per_million_tokens,
        price.cached_input_usd_per_million_tokens,
        price.cache_write_usd_per_million_tokens,
        price.output_usd_per_million_tokens,
    )
