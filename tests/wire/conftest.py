"""One suite a binding, shared by every conformance test."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.wire.suites import Suite, in_process, over_grpc


@pytest_asyncio.fixture(scope="session", params=["in_process", "grpc"])
async def suite(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Suite]:
    """A running suite, once in-process and once over gRPC."""
    start = in_process if request.param == "in_process" else over_grpc
    async with start(tmp_path_factory.mktemp(request.param)) as running:
        yield running
