"""Every way in which a provider can fail becomes the error that says so, over a real socket."""

import time
from email.utils import formatdate

import pytest

from services.chassis.errors import (
    FailedPrecondition,
    FulcrumError,
    InvalidField,
    NotFound,
    Overloaded,
    Unavailable,
)
from services.executor.engine import Finish
from services.executor.remote_engine import RemoteEngine
from tests.unit.executor.chat_server import ChatServer, delta, event, refusing, streaming, usage
from tests.unit.executor.remote_parts import WHOLE, events_of, started


@pytest.mark.parametrize(
    ("status", "body", "error", "reason"),
    [
        (401, "", FailedPrecondition, "PROVIDER_CREDENTIALS"),
        (403, "", FailedPrecondition, "PROVIDER_CREDENTIALS"),
        (404, "", NotFound, "MODEL_UNKNOWN"),
        (400, "no json", InvalidField, "FIELD_INVALID"),
        (400, '{"error": {"code": "context_length_exceeded"}}', InvalidField, "PROMPT_TOO_LONG"),
        (413, "", InvalidField, "PROMPT_TOO_LONG"),
        (429, '{"error": {"type": "rate_limit"}}', Overloaded, "PROVIDER_LIMITED"),
        (500, "x" * 300_000, Unavailable, "BACKEND_UNAVAILABLE"),
        (503, "[1]", Unavailable, "BACKEND_UNAVAILABLE"),
        (302, "", Unavailable, "BACKEND_UNAVAILABLE"),
    ],
)
async def test_statuses_become_errors(
    server: ChatServer, remote: RemoteEngine, status: int, body: str, error: type[FulcrumError], reason: str
) -> None:
    """Each HTTP status has its error; none tells the key."""
    server.reply = refusing(status, body)
    with pytest.raises(error) as caught:
        await events_of(remote)
    assert type(caught.value) is error
    assert caught.value.reason == reason
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_passed_on(server: ChatServer, remote: RemoteEngine, status: int) -> None:
    """Retry-After reaches the caller, given as seconds or as a date; rubbish there is no delay."""
    for value, low, high in (("7", 7, 7), (formatdate(time.time() + 30, usegmt=True), 27, 31)):
        server.reply = refusing(status, headers=f"Retry-After: {value}\r\n")
        with pytest.raises(FulcrumError) as caught:
            await events_of(remote)
        assert caught.value.retry_after_s is not None
        assert low <= caught.value.retry_after_s <= high
    for rubbish, told in (("soon", None), ("inf", None), ("nan", None), ("Mon, 01 Jan 0001 00:00:00 -0000", 0.0)):
        server.reply = refusing(status, headers=f"Retry-After: {rubbish}\r\n")
        with pytest.raises(FulcrumError) as caught:
            await events_of(remote)
        assert caught.value.retry_after_s == told, rubbish


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
async def test_unreadable_streams(server: ChatServer, remote: RemoteEngine, pieces: list[bytes]) -> None:
    """A chunk that makes no sense, or carries an error, ends the stream as unavailable without quoting the prompt."""
    server.reply = streaming([delta(content="begun"), *pieces, usage(1, 1)])
    with pytest.raises(Unavailable) as caught:
        await events_of(remote)
    assert "hello" not in str(caught.value)


@pytest.mark.parametrize(("pieces", "end"), [(WHOLE[:2], "cut"), (WHOLE[:2], "whole"), ([], "cut")])
async def test_early_ends(server: ChatServer, remote: RemoteEngine, pieces: list[bytes], end: str) -> None:
    """A stream without a finish reason is no answer, however it ends."""
    server.reply = streaming(pieces, end)
    with pytest.raises(Unavailable):
        await events_of(remote)


async def test_a_server_that_counts_nothing(server: ChatServer, remote: RemoteEngine) -> None:
    """An answer is whole without usage; how many tokens it took is then unknown, not zero."""
    server.reply = streaming(WHOLE[:4], "whole")
    *_, finish = await events_of(remote)
    assert isinstance(finish, Finish)
    assert finish.usage is None


async def test_silence_times_out(server: ChatServer) -> None:
    """A server that says nothing for longer than the read timeout is unavailable."""
    server.reply = streaming(WHOLE, pause_s=1.0)
    async with started(server, key=None) as remote:
        remote._client.timeout = 0.1  # type: ignore[union-attr]
        with pytest.raises(Unavailable, match="ReadTimeout"):
            await events_of(remote)
    assert "authorization" not in server.headers[0]


async def test_nobody_listens(server: ChatServer) -> None:
    """A refused connection is unavailable at once."""
    async with started(server, base_url="http://127.0.0.1:9/v1") as remote:
        with pytest.raises(Unavailable, match="ConnectError"):
            await events_of(remote)
