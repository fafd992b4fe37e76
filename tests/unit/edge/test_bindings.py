"""What edge makes of a backend that refuses edge itself."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from services.chassis.errors import Unavailable
from services.chassis.key_file import KeyFile
from services.edge.bindings import EncoderBinding, ExecutorBinding
from tests.unit.chassis.parts import Reached, reached
from tests.unit.edge.parts import request


async def _generate(service: Reached) -> None:
    async for _ in ExecutorBinding(service.channel, 5.0).generate("m", request()):
        pass


async def _embed(service: Reached) -> None:
    await EncoderBinding(service.channel, 5.0).embed("x")


@pytest.mark.parametrize(("backend", "call"), [("executor", _generate), ("encoder", _embed)])
async def test_a_backend_that_refuses_edge_is_unavailable(
    tmp_path: Path, backend: str, call: Callable[[Reached], Awaitable[None]]
) -> None:
    """Edge's own credentials are no fault of its caller: the backend is unavailable to it, and the log has why."""
    path = tmp_path / "keys.json"
    KeyFile(path).create("acme", "", False, None)
    async with reached("grpc", identity={"accept": ["keys"], "keys": path}) as service:
        with capture_logs() as logs, pytest.raises(Unavailable) as caught:
            await call(service)
    assert (caught.value.field, caught.value.unanswered) == (backend, False)
    assert "key" not in str(caught.value)
    (line,) = [line for line in logs if line["log_level"] == "error"]
    assert line["backend"] == backend
    assert "metadata.authorization" in line["error"]
