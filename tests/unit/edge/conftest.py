"""A pipeline on memory for each test."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.unit.edge.parts import Bench


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    """A pipeline whose catalogue is read; nothing of any request, and no task, may be left at the end."""
    async with Bench() as bench:
        yield bench
    assert bench.at_rest()
