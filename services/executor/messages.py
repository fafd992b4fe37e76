"""Between the contract's messages and the executor's own types, in both directions."""

from fulcrum.executor.v1 import chat_pb2, executor_service_pb2
from google.protobuf.duration_pb2 import Duration

from services.chassis.call import tenant_of
from services.executor import engine as domain

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
    domain.ModelState.UNLOADED: executor_service_pb2.MODEL_STATE_UNLOADED,
    domain.ModelState.UNLOADING: executor_service_pb2.MODEL_STATE_UNLOADING,
}


def request(message: executor_service_pb2.GenerateRequest) -> domain.GenerateRequest:
    """A caller's request."""
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
        json_schema=message.response_format.json_schema if message.HasField("response_format") else None,
        top_logprobs=message.top_logprobs if message.HasField("top_logprobs") else None,
    )


def response(event: domain.Event) -> executor_service_pb2.GenerateResponse:
    """One event of an answer."""
    if isinstance(event, domain.TextDelta):
        return executor_service_pb2.GenerateResponse(
            text_delta=executor_service_pb2.TextDelta(text=event.text, logprobs=map(_logprob, event.logprobs)),
            spent=_spent(event.spent),
        )
    if isinstance(event, domain.ToolCallDelta):
        piece = executor_service_pb2.ToolCallDelta(
            index=event.index, call_id=event.call_id, name=event.name, arguments_json=event.arguments_json
        )
        return executor_service_pb2.GenerateResponse(tool_call_delta=piece)
    return executor_service_pb2.GenerateResponse(finish=_finish(event))


def _logprob(told: domain.TokenLogprob) -> chat_pb2.TokenLogprob:
    others = [chat_pb2.AlternativeToken(token=one.token, logprob=one.logprob) for one in told.alternatives]
    return chat_pb2.TokenLogprob(token=told.token, logprob=told.logprob, alternatives=others)


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


def model(info: domain.ModelInfo) -> executor_service_pb2.Model:
    """A model as it is told of."""
    return executor_service_pb2.Model(
        name=info.name,
        kind=KINDS[info.kind],
        state=STATES[info.state],
        context_tokens=info.context_tokens,
        precision=info.precision,
        digest=info.digest,
        supports_tools=info.supports_tools,
        supports_json_schema=info.supports_json_schema,
        supports_logprobs=info.supports_logprobs,
        failure=info.failure,
        memory_bytes=info.memory_bytes,
        tokens_per_second=info.tokens_per_second,
        waiting=info.waiting,
        measured_precisions=map(_measured, info.measured),
    )


def _measured(found: domain.MeasuredPrecision) -> executor_service_pb2.MeasuredPrecision:
    return executor_service_pb2.MeasuredPrecision(
        precision=found.precision,
        exact_match=found.exact_match,
        perplexity=found.perplexity,
        questions=found.questions,
        random_logit_error=found.random_logit_error,
    )
