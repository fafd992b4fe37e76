"""A pipeline on memory for each test."""

from collections.abc import AsyncIterator

import pytest_asyncio
from hypothesis import settings

from tests.unit.edge.parts import Bench

# The same examples every time, and no deadline: machines that run tests are busy.
settings.register_profile("fulcrum", derandomize=True, database=None, deadline=None)
settings.load_profile("fulcrum")


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    """A pipeline whose catalogue is read; nothing of any request, and no task, may be left at the end."""
    bench = Bench()
    await bench.catalogue.start()
    yield bench
    await bench.catalogue.close()
    assert bench.at_rest()
