"""The remote engine against a real server: what it sends, what it makes of answers, and every way they fail."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from email.utils import formatdate
from typing import Any

import pytest
import pytest_asyncio

from services.chassis.errors import (
    FailedPrecondition,
    FulcrumError,
    InvalidField,
    NotFound,
    Overloaded,
    Unavailable,
)
from services.executor.engine import (
    Event,
    Finish,
    FinishReason,
    GenerateRequest,
    Message,
    ModelState,
    Sampling,
    TextDelta,
    Tool,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from services.executor.remote_engine import RemoteEngine
from services.executor.settings import RemoteModel
from tests.unit.executor.chat_server import ChatServer, chat_server, delta, event, refusing, streaming, usage

ASK = GenerateRequest("gpt", (Message("user", "hello"),))
WHOLE = [delta(role="assistant", content=""), delta(content="Hi "), delta(content="漢"), delta("stop"), usage(5, 2)]


@pytest_asyncio.fixture
async def server() -> AsyncIterator[ChatServer]:
    async with chat_server() as server:
        yield server


@pytest_asyncio.fixture
async def engine(server: ChatServer) -> AsyncIterator[RemoteEngine]:
    async with aclosing_engine(server) as engine:
        yield engine


def aclosing_engine(server: ChatServer, key: str | None = "secret", **settings: Any) -> "Started":
    model = RemoteModel(base_url=server.base_url, read_timeout_s=5, api_key_env="GPT_KEY", **settings)
    return Started(RemoteEngine("gpt", model, key))


class Started:
    """An engine for the length of a block."""

    def __init__(self, engine: RemoteEngine) -> None:
        self.engine = engine

    async def __aenter__(self) -> RemoteEngine:
        await self.engine.start()
        return self.engine

    async def __aexit__(self, *_: object) -> None:
        await self.engine.close()


async def events_of(engine: RemoteEngine, request: GenerateRequest = ASK) -> list[Event]:
    async with asyncio.timeout(10):
        return [one async for one in engine.generate(request)]


def finish_of(events: list[Event]) -> Finish:
    assert isinstance(events[-1], Finish)
    return events[-1]


def text_of(events: list[Event]) -> str:
    return "".join(one.text for one in events if isinstance(one, TextDelta))


async def test_streams_text_usage_and_timing(server: ChatServer, engine: RemoteEngine) -> None:
    """Text passes through, usage and reason end the stream, and the key travels as a bearer token."""
    server.reply = streaming(WHOLE)
    events = await events_of(engine)
    finish = finish_of(events)
    assert [one.text for one in events if isinstance(one, TextDelta)] == ["Hi ", "漢"]
    assert (finish.reason, finish.usage) == (FinishReason.STOP, Usage(5, 0, 0, 2))
    assert 0 < finish.timing.first_token_s <= finish.timing.total_s
    assert (finish.timing.machine_s, finish.mean_logprob) == (0, None)
    assert server.headers[0]["authorization"] == "Bearer secret"
    assert engine.info.state is ModelState.READY


async def test_any_cut_of_the_bytes_reads_the_same(server: ChatServer, engine: RemoteEngine) -> None:
    """Chunks may end anywhere, within a character too; CR LF, comments and line separators within JSON are harmless."""
    odd = b": ping\r\n\r\nevent: x\r\n" + delta(content="a\u2028b\x85").replace(b"\n", b"\r\n") + b"".join(WHOLE)
    for size in (1, 7, len(odd)):
        server.reply = streaming([odd[at : at + size] for at in range(0, len(odd), size)])
        assert text_of(await events_of(engine)) == "a\u2028b\x85Hi 漢"


async def test_what_is_unset_is_not_sent(server: ChatServer, engine: RemoteEngine) -> None:
    """A plain request carries only model, messages and the wish for a stream with usage."""
    server.reply = streaming(WHOLE)
    await events_of(engine)
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
    async with aclosing_engine(server, model="real", output_limit_field="max_completion_tokens") as engine:
        await events_of(engine, request)
    body = server.bodies[0]
    assert (body["model"], body["max_completion_tokens"], body["temperature"], body["top_p"]) == ("real", 9, 0.0, 0.5)
    assert (body["top_k"], body["seed"], body["stop"]) == (3, 7, ["END"])
    assert body["tools"][0]["function"] == {"name": "f", "description": "does", "parameters": {"type": "object"}}
    assert body["messages"][0]["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}
    assert body["messages"][1] == {"role": "tool", "content": "42", "tool_call_id": "c1"}


async def test_cached_tokens_are_part_of_the_prompt(server: ChatServer, engine: RemoteEngine) -> None:
    """Cached tokens are a subset of the prompt's and never more than these."""
    for cached, expected in ((30, 30), (500, 100)):
        server.reply = streaming([delta(content="x"), delta("length"), usage(100, 1, cached)])
        finish = finish_of(await events_of(engine))
        assert finish.usage == Usage(100, expected, 0, 1)
        assert finish.reason is FinishReason.LENGTH


async def test_tool_calls_pass_through(server: ChatServer, engine: RemoteEngine) -> None:
    """Pieces of function calls keep index, id, name and arguments."""
    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}
    more = {"index": 0, "function": {"arguments": '{"a":'}}
    server.reply = streaming([delta(tool_calls=[first]), delta(tool_calls=[more]), delta("tool_calls"), usage(5, 2)])
    events = await events_of(engine)
    assert events[:-1] == [ToolCallDelta(0, "c1", "f", ""), ToolCallDelta(0, "", "", '{"a":')]
    assert finish_of(events).reason is FinishReason.TOOL_CALLS


async def test_connections_are_used_again(server: ChatServer, engine: RemoteEngine) -> None:
    """Answers that ended well leave the connection open for the next request."""
    server.reply = streaming(WHOLE)
    for _ in range(3):
        await events_of(engine)
    assert server.connections == 1


@pytest.mark.parametrize(
    ("status", "body", "error", "reason"),
    [
        (401, "", FailedPrecondition, "PROVIDER_CREDENTIALS"),
        (403, "", FailedPrecondition, "PROVIDER_CREDENTIALS"),
        (404, "", NotFound, "MODEL_UNKNOWN"),
        (400, "no json", InvalidField, "FIELD_INVALID"),
        (400, '{"error": {"code": "context_length_exceeded"}}', InvalidField, "PROMPT_TOO_LONG"),
        (413, "", InvalidField, "PROMPT_TOO_LONG"),
        (429, '{"error": {"type": "rate_limit"}}', Overloaded, "OVERLOADED"),
        (500, "x" * 300_000, Unavailable, "BACKEND_UNAVAILABLE"),
        (503, "[1]", Unavailable, "BACKEND_UNAVAILABLE"),
        (302, "", Unavailable, "BACKEND_UNAVAILABLE"),
    ],
)
async def test_statuses_become_errors(
    server: ChatServer, engine: RemoteEngine, status: int, body: str, error: type[FulcrumError], reason: str
) -> None:
    """Each HTTP status has its error; none tells the key."""
    server.reply = refusing(status, body)
    with pytest.raises(error) as caught:
        await events_of(engine)
    assert type(caught.value) is error
    assert caught.value.reason == reason
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_passed_on(server: ChatServer, engine: RemoteEngine, status: int) -> None:
    """Retry-After reaches the caller, given as seconds or as a date; rubbish there is no delay."""
    for value, low, high in (("7", 7, 7), (formatdate(time.time() + 30, usegmt=True), 27, 31)):
        server.reply = refusing(status, headers=f"Retry-After: {value}\r\n")
        with pytest.raises(FulcrumError) as caught:
            await events_of(engine)
        assert caught.value.retry_after_s is not None
        assert low <= caught.value.retry_after_s <= high
    server.reply = refusing(status, headers="Retry-After: soon\r\n")
    with pytest.raises(FulcrumError) as caught:
        await events_of(engine)
    assert caught.value.retry_after_s is None


@pytest.mark.parametrize(
    "pieces",
    [
        [b"data: {not json}\n\n"],
        [b"data: [1]\n\n"],
        [event(choices=[{"delta": {"tool_calls": [{}]}}])],
        [event(error={"code": "overloaded", "message": "hello"})],
        [b"data: \xff\n\n"],
        [delta("stop"), event(choices=[], usage={"prompt_tokens": "x"})],
    ],
)
async def test_unreadable_streams(server: ChatServer, engine: RemoteEngine, pieces: list[bytes]) -> None:
    """A chunk that makes no sense, or carries an error, ends the stream as unavailable without quoting the prompt."""
    server.reply = streaming([delta(content="begun"), *pieces, usage(1, 1)])
    with pytest.raises(Unavailable) as caught:
        await events_of(engine)
    assert "hello" not in str(caught.value)


@pytest.mark.parametrize(
    ("pieces", "end"), [(WHOLE[:2], "cut"), (WHOLE[:3], "whole"), (WHOLE[:4], "whole"), ([], "cut")]
)
async def test_early_ends(server: ChatServer, engine: RemoteEngine, pieces: list[bytes], end: str) -> None:
    """A stream without a finish reason or without usage is no answer, however it ends."""
    server.reply = streaming(pieces, end)
    with pytest.raises(Unavailable):
        await events_of(engine)


async def test_silence_times_out(server: ChatServer) -> None:
    """A server that says nothing for longer than the read timeout is unavailable."""
    server.reply = streaming(WHOLE, pause_s=1.0)
    async with aclosing_engine(server, key=None) as engine:
        engine._client.timeout = 0.1  # type: ignore[union-attr]
        with pytest.raises(Unavailable, match="ReadTimeout"):
            await events_of(engine)
    assert "authorization" not in server.headers[0]


async def test_nobody_listens() -> None:
    """A refused connection is unavailable at once."""
    async with Started(RemoteEngine("gpt", RemoteModel(base_url="http://127.0.0.1:9/v1"), None)) as engine:
        with pytest.raises(Unavailable, match="ConnectError"):
            await events_of(engine)


async def test_leaving_hangs_up(server: ChatServer, engine: RemoteEngine) -> None:
    """Closing the stream, or cancelling its consumer, closes the connection and frees the place."""
    server.reply = streaming(WHOLE[:2], "hang")
    async with aclosing(engine.generate(ASK)) as events:
        assert await anext(events) == TextDelta("Hi ")
    async with asyncio.timeout(5):
        await server.hung_up.wait()
    server.hung_up.clear()
    task = asyncio.create_task(events_of(engine))
    await asyncio.sleep(0.1)
    task.cancel()
    async with asyncio.timeout(5):
        await server.hung_up.wait()


async def test_too_many_requests_are_refused(server: ChatServer) -> None:
    """Beyond the places and those that may wait, a request is refused at once; a freed place is given on."""
    async with aclosing_engine(server, places=1, waiting_limit=1) as engine:
        server.reply = streaming(WHOLE[:2], "hang")
        first = engine.generate(ASK)
        await anext(first)
        server.reply = streaming(WHOLE)
        second = asyncio.create_task(events_of(engine))
        await asyncio.sleep(0.05)
        with pytest.raises(Overloaded) as caught:
            await events_of(engine)
        assert caught.value.retry_after_s
        await first.aclose()
        assert finish_of(await second).timing.queue_s > 0.01


async def test_refuses_what_it_cannot_send(server: ChatServer) -> None:
    """Tools for a model without them, and parameters that are no JSON object, never reach the server."""
    async with aclosing_engine(server, supports_tools=False) as engine:
        with pytest.raises(FailedPrecondition):
            await events_of(engine, GenerateRequest("gpt", ASK.messages, tools=(Tool("f", "", "{}"),)))
    async with aclosing_engine(server) as engine:
        with pytest.raises(InvalidField, match=r"tools\[0\]"):
            await events_of(engine, GenerateRequest("gpt", ASK.messages, tools=(Tool("f", "", "[1]"),)))
    with pytest.raises(Unavailable):
        await events_of(RemoteEngine("gpt", RemoteModel(base_url=server.base_url), None))
    assert server.bodies == []
