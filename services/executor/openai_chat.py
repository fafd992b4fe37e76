"""The OpenAI chat completions format: requests into it, streamed chunks out of it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from services.chassis.errors import InvalidField, Unavailable
from services.executor.constraint import FIELD
from services.executor.engine import (
    AlternativeToken,
    Event,
    FinishReason,
    GenerateRequest,
    Message,
    TextDelta,
    TokenLogprob,
    Tool,
    ToolCallDelta,
    Usage,
)
from services.executor.token_usage import UsageReader

DONE = "[DONE]"
MOST_ALTERNATIVES = 20
REASONS = {
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
}


def request_body(
    request: GenerateRequest, model: str, output_limit_field: str, reasoning_effort: str | None
) -> dict[str, Any]:
    """The JSON body that asks for a stream with usage; what is unset is left to the provider.

    Raises:
        InvalidField: a tool's parameters, or the schema of the answer, are no JSON object.
    """
    sampling = request.sampling
    wanted = {
        output_limit_field: sampling.max_output_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "seed": sampling.seed,
        "stop": list(sampling.stop) or None,
        "response_format": _format(sampling.json_schema),
        "logprobs": True if sampling.top_logprobs is not None else None,
        "top_logprobs": sampling.top_logprobs or None,
        "reasoning_effort": reasoning_effort,
        "tools": [_tool(tool, index) for index, tool in enumerate(request.tools)] or None,
    }
    return {
        "model": model,
        "messages": [_message(message) for message in request.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
        **{name: value for name, value in wanted.items() if value is not None},
    }


class ChunkReader:
    """Turns the chunks of one stream into events and keeps how it ended."""

    def __init__(self, usage: UsageReader) -> None:
        self._usage = usage
        self.reason: FinishReason | None = None
        self.usage: Usage | None = None

    def read(self, data: str) -> Iterator[Event]:
        """The events of one chunk; the closing mark has none.

        Raises:
            Unavailable: the chunk is no such JSON, or carries the provider's error.
        """
        if data == DONE:
            return
        try:
            chunk = json.loads(data)
            if chunk.get("error"):
                raise Unavailable("provider", f"an error within the stream: {_code(chunk['error'])}", "an answer")
            if chunk.get("usage"):
                self.usage = self._usage.read(chunk["usage"])
            for choice in chunk.get("choices") or ():
                yield from _events(choice.get("delta") or {}, choice.get("logprobs") or {})
                if choice.get("finish_reason"):
                    self.reason = REASONS.get(choice["finish_reason"], FinishReason.STOP)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            found = f"a chunk that is not understood ({type(error).__name__})"
            raise Unavailable("provider", found, "chat completion chunks") from error


def _events(delta: Mapping[str, Any], logprobs: Mapping[str, Any]) -> Iterator[Event]:
    told = tuple(_logprob(one) for one in logprobs.get("content") or ())
    if delta.get("content") or told:
        yield TextDelta(str(delta.get("content") or ""), logprobs=told)
    for call in delta.get("tool_calls") or ():
        function = call.get("function") or {}
        arguments = str(function.get("arguments") or "")
        yield ToolCallDelta(int(call["index"]), str(call.get("id") or ""), str(function.get("name") or ""), arguments)


def _logprob(told: Mapping[str, Any]) -> TokenLogprob:
    others = (told.get("top_logprobs") or ())[:MOST_ALTERNATIVES]
    alternatives = tuple(AlternativeToken(_bytes(one), float(one["logprob"])) for one in others)
    return TokenLogprob(_bytes(told), float(told["logprob"]), alternatives)


def _bytes(told: Mapping[str, Any]) -> bytes:
    """The token's bytes where the provider sends them, else its text's."""
    return bytes(told["bytes"]) if told.get("bytes") else str(told["token"]).encode("utf-8", "replace")


def _message(message: Message) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_call_id:
        turn["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        turn["tool_calls"] = [
            {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments_json}}
            for call in message.tool_calls
        ]
    return turn


def _format(schema: str | None) -> dict[str, Any] | None:
    if schema is None:
        return None
    wanted = {"name": "answer", "strict": True, "schema": _schema(schema, FIELD)}
    return {"type": "json_schema", "json_schema": wanted}


def _tool(tool: Tool, index: int) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "description": tool.description}
    if tool.parameters_json_schema:
        function["parameters"] = _schema(tool.parameters_json_schema, f"tools[{index}].parameters_json_schema")
    return {"type": "function", "function": function}


def _schema(text: str, field: str) -> dict[str, Any]:
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError):
        schema = None
    if not isinstance(schema, dict):
        raise InvalidField(field, f"{len(text)} characters", "a JSON object")
    return schema


def _code(error: Any) -> str:
    """The provider's short code; never its message, which may quote the prompt."""
    found = (error.get("code") or error.get("type")) if isinstance(error, dict) else None
    return str(found or "no code")[:100]
