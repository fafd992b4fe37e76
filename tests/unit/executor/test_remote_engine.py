"""The remote engine against a real server: what it sends, what it makes of answers, and how it lets go."""

import asyncio
from contextlib import aclosing

import pytest

from services.chassis.errors import (
    FailedPrecondition,
    InvalidField,
    Overloaded,
    Unavailable,
)
from services.executor.engine import (
    AlternativeToken,
    FinishReason,
    GenerateRequest,
    Message,
    ModelState,
    Sampling,
    TextDelta,
    TokenLogprob,
    Tool,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from services.executor.remote_engine import RemoteEngine
from services.executor.settings import RemoteModel
from services.executor.token_usage import UsageReader
from tests.unit.executor.chat_server import ChatServer, delta, event, streaming, usage
from tests.unit.executor.remote_parts import ASK, WHOLE, events_of, finish_of, started, text_of


async def test_streams_text_usage_and_timing(server: ChatServer, remote: RemoteEngine) -> None:
    """Text passes through, usage and reason end the stream, and the key travels as a bearer token."""
    server.reply = streaming(WHOLE)
    events = await events_of(remote)
    finish = finish_of(events)
    assert [one.text for one in events if isinstance(one, TextDelta)] == ["Hi ", "漢"]
    assert (finish.reason, finish.usage) == (FinishReason.STOP, Usage(5, 0, 0, 2))
    assert 0 < finish.timing.first_token_s <= finish.timing.total_s
    assert (finish.timing.machine_s, finish.mean_logprob) == (0, None)
    assert server.headers[0]["authorization"] == "Bearer secret"
    assert remote.info.state is ModelState.READY


async def test_any_cut_of_the_bytes_reads_the_same(server: ChatServer, remote: RemoteEngine) -> None:
    """Chunks may end anywhere, within a character too; CR LF, comments and line separators within JSON are harmless."""
    odd = b": ping\r\n\r\nevent: x\r\n" + delta(content="a\u2028b\x85").replace(b"\n", b"\r\n") + b"".join(WHOLE)
    for size in (1, 7, len(odd)):
        server.reply = streaming([odd[at : at + size] for at in range(0, len(odd), size)])
        assert text_of(await events_of(remote)) == "a\u2028b\x85Hi 漢"


async def test_what_is_unset_is_not_sent(server: ChatServer, remote: RemoteEngine) -> None:
    """A plain request carries only model, messages and the wish for a stream with usage."""
    server.reply = streaming(WHOLE)
    await events_of(remote)
    assert server.bodies == [
        {
            "model": "gpt",
            "messages": [{"role": "user", "content": "hello"}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]


async def test_everything_set_is_sent(server: ChatServer) -> None:
    """Sampling, tools and tool turns go out in the provider's terms."""
    sampling = Sampling(9, 0.0, 0.5, 3, 7, ("END",))
    turns = (Message("assistant", "", (ToolCall("c1", "f", "{}"),)), Message("tool", "42", tool_call_id="c1"))
    request = GenerateRequest("gpt", turns, sampling, (Tool("f", "does", '{"type": "object"}'),))
    server.reply = streaming(WHOLE)
    settings = {"output_limit_field": "max_completion_tokens", "reasoning_effort": "low"}
    async with started(server, model="real", **settings) as remote:
        await events_of(remote, request)
    body = server.bodies[0]
    assert (body["model"], body["max_completion_tokens"], body["temperature"], body["top_p"]) == ("real", 9, 0.0, 0.5)
    assert (body["top_k"], body["seed"], body["stop"]) == (3, 7, ["END"])
    assert body["reasoning_effort"] == "low"
    assert body["tools"][0]["function"] == {"name": "f", "description": "does", "parameters": {"type": "object"}}
    assert body["messages"][0]["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}
    assert body["messages"][1] == {"role": "tool", "content": "42", "tool_call_id": "c1"}


async def test_cached_tokens_are_part_of_the_prompt(server: ChatServer, remote: RemoteEngine) -> None:
    """Cached tokens are a subset of the prompt's and never more than these."""
    for cached, expected in ((30, 30), (500, 100)):
        server.reply = streaming([delta(content="x"), delta("length"), usage(100, 1, cached)])
        finish = finish_of(await events_of(remote))
        assert finish.usage == Usage(100, expected, 0, 1)
        assert finish.reason is FinishReason.LENGTH


async def test_tool_calls_pass_through(server: ChatServer, remote: RemoteEngine) -> None:
    """Pieces of function calls keep index, id, name and arguments."""
    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}
    more = {"index": 0, "function": {"arguments": '{"a":'}}
    server.reply = streaming([delta(tool_calls=[first]), delta(tool_calls=[more]), delta("tool_calls"), usage(5, 2)])
    events = await events_of(remote)
    assert events[:-1] == [ToolCallDelta(0, "c1", "f", ""), ToolCallDelta(0, "", "", '{"a":')]
    assert finish_of(events).reason is FinishReason.TOOL_CALLS


async def test_connections_are_used_again(server: ChatServer, remote: RemoteEngine) -> None:
    """Answers that ended well leave the connection open for the next request."""
    server.reply = streaming(WHOLE)
    for _ in range(3):
        await events_of(remote)
    assert server.connections == 1


async def test_leaving_hangs_up(server: ChatServer, remote: RemoteEngine) -> None:
    """Closing the stream, or cancelling its consumer, closes the connection and frees the place."""
    server.reply = streaming(WHOLE[:2], "hang")
    async with aclosing(remote.generate(ASK)) as events:
        assert await anext(events) == TextDelta("Hi ")
    async with asyncio.timeout(5):
        await server.hung_up.wait()
    server.hung_up.clear()
    task = asyncio.create_task(events_of(remote))
    await asyncio.sleep(0.1)
    task.cancel()
    async with asyncio.timeout(5):
        await server.hung_up.wait()


async def test_too_many_requests_are_refused(server: ChatServer) -> None:
    """Beyond the places and those that may wait, a request is refused at once; a freed place is given on."""
    async with started(server, places=1, waiting_limit=1) as remote:
        server.reply = streaming(WHOLE[:2], "hang")
        first = remote.generate(ASK)
        await anext(first)
        server.reply = streaming(WHOLE)
        second = asyncio.create_task(events_of(remote))
        await asyncio.sleep(0.05)
        with pytest.raises(Overloaded) as caught:
            await events_of(remote)
        assert caught.value.retry_after_s
        await first.aclose()
        assert finish_of(await second).timing.queue_s > 0.01


async def test_refuses_what_it_cannot_send(server: ChatServer) -> None:
    """Tools for a model without them, and parameters that are no JSON object, never reach the server."""
    async with started(server, supports_tools=False) as remote:
        with pytest.raises(FailedPrecondition):
            await events_of(remote, GenerateRequest("gpt", ASK.messages, tools=(Tool("f", "", "{}"),)))
    async with started(server) as remote:
        with pytest.raises(InvalidField, match=r"tools\[0\]"):
            await events_of(remote, GenerateRequest("gpt", ASK.messages, tools=(Tool("f", "", "[1]"),)))
    with pytest.raises(Unavailable):
        await events_of(RemoteEngine("gpt", RemoteModel(base_url=server.base_url), None, UsageReader(None)))
    assert server.bodies == []


async def test_schemas_and_probabilities_pass(server: ChatServer, remote: RemoteEngine) -> None:
    """A schema goes out as response_format; probabilities come back as bytes, from texts where no bytes are sent."""
    told = {"token": "Hi", "bytes": [72, 105], "logprob": -0.5, "top_logprobs": [{"token": "é", "logprob": -1}] * 30}
    chunk = {"index": 0, "delta": {"content": "Hi"}, "logprobs": {"content": [told]}, "finish_reason": "stop"}
    server.reply = streaming([event(choices=[chunk]), usage(5, 2)])
    sampling = Sampling(json_schema='{"type": "string"}', top_logprobs=2)
    events = await events_of(remote, GenerateRequest("gpt", ASK.messages, sampling))
    others = (AlternativeToken("é".encode(), -1.0),) * 20
    assert events[0] == TextDelta("Hi", logprobs=(TokenLogprob(b"Hi", -0.5, others),))
    body = server.bodies[0]
    form = {"name": "answer", "strict": True, "schema": {"type": "string"}}
    assert body["response_format"] == {"type": "json_schema", "json_schema": form}
    assert (body["logprobs"], body["top_logprobs"]) == (True, 2)


async def test_what_a_provider_does_not_do_is_refused(server: ChatServer) -> None:
    """Models that take no schemas and tell no probabilities refuse both by field; what is no schema never leaves."""
    schema, told = Sampling(json_schema="{}"), Sampling(top_logprobs=0)
    async with started(server, supports_json_schema=False, supports_logprobs=False) as remote:
        for sampling, field in ((schema, "response_format"), (told, "top_logprobs")):
            with pytest.raises(FailedPrecondition, match=field):
                await events_of(remote, GenerateRequest("gpt", ASK.messages, sampling))
    async with started(server) as remote:
        for text in ("[", "[" * 60_000, "3"):
            with pytest.raises(InvalidField, match="response_format"):
                await events_of(remote, GenerateRequest("gpt", ASK.messages, Sampling(json_schema=text)))
    assert server.bodies == []
