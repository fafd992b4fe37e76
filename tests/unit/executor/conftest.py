"""A chat completions server and an engine on it."""

from collections.abc import AsyncIterator

import pytest_asyncio

from services.executor.remote_engine import RemoteEngine
from tests.unit.executor.chat_server import ChatServer, chat_server
from tests.unit.executor.remote_parts import started


@pytest_asyncio.fixture
async def server() -> AsyncIterator[ChatServer]:
    async with chat_server() as server:
        yield server


@pytest_asyncio.fixture
async def remote(server: ChatServer) -> AsyncIterator[RemoteEngine]:
    async with started(server) as engine:
        yield engine
