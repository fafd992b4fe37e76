"""What the tests of the remote engine share: an engine on a real server, a whole answer, and readers of events."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from services.executor.engine import Event, Finish, GenerateRequest, Message, TextDelta
from services.executor.remote_engine import RemoteEngine
from services.executor.settings import RemoteModel
from services.executor.token_usage import UsageReader
from tests.unit.executor.chat_server import ChatServer, delta, usage

ASK = GenerateRequest("gpt", (Message("user", "hello"),))
WHOLE = [delta(role="assistant", content=""), delta(content="Hi "), delta(content="漢"), delta("stop"), usage(5, 2)]


@asynccontextmanager
async def started(server: ChatServer, key: str | None = "secret", **settings: Any) -> AsyncIterator[RemoteEngine]:
    """An engine on the server, for the length of a block."""
    wanted = {"base_url": server.base_url, "read_timeout_s": 5, "api_key_env": "GPT_KEY"} | settings
    engine = RemoteEngine("gpt", RemoteModel.model_validate(wanted), key, UsageReader(None))
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


async def events_of(engine: RemoteEngine, request: GenerateRequest = ASK) -> list[Event]:
    async with asyncio.timeout(10):
        return [one async for one in engine.generate(request)]


def finish_of(events: list[Event]) -> Finish:
    assert isinstance(events[-1], Finish)
    return events[-1]


def text_of(events: list[Event]) -> str:
    return "".join(one.text for one in events if isinstance(one, TextDelta))
