"""The bindings that every scenario is held to."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.unit.chassis.parts import BINDINGS, Reached, reached


@pytest_asyncio.fixture(params=BINDINGS)
async def either(request: pytest.FixtureRequest) -> AsyncIterator[Reached]:
    """A scripted service, once by the local channel and once over a socket."""
    async with reached(request.param) as service:
        yield service


@pytest_asyncio.fixture
async def wire() -> AsyncIterator[Reached]:
    """A scripted service over a socket."""
    async with reached("grpc") as service:
        yield service
