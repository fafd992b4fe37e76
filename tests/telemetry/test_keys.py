"""Where keys are asked for, telemetry tells which tenant and which key called, and never the key."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from fulcrum.edge.v1 import edge_service_pb2 as pb

from services.chassis.key_file import KeyFile, id_of
from tests.telemetry.collector import collector
from tests.telemetry.running import Running, four_processes, one_process
from tests.telemetry.test_traces import COMPLETE, GENERATE, context, kept

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
Metadata = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True)
class Keys:
    """Keys of a file: of two tenants, an operator's, and two that count no longer; and one that never counted."""

    path: Path
    acme: str
    globex: str
    operator: str
    revoked: str
    expired: str
    wrong: str

    @property
    def tokens(self) -> tuple[str, ...]:
        return self.acme, self.globex, self.operator, self.revoked, self.expired, self.wrong


def made(path: Path) -> Keys:
    file, yesterday = KeyFile(path), datetime.now(UTC) - timedelta(days=1)
    _, acme = file.create("acme", "ci", False, None)
    _, globex = file.create("globex", "", False, None)
    _, operator = file.create("ops", "", True, None)
    revoked, gone = file.create("acme", "", False, None)
    file.revoke(revoked.id)
    _, expired = file.create("acme", "", False, yesterday)
    return Keys(path, acme, globex, operator, gone, expired, acme[:-8] + "a" * 8)


@pytest_asyncio.fixture(scope="module", params=["one process", "four processes"])
async def keyed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Running, Keys]]:
    """A suite that asks for keys, sends every span to a collector, and counts and logs all it can."""
    folder = tmp_path_factory.mktemp("keyed")
    keys = made(folder / "keys.json")
    start = one_process if request.param == "one process" else four_processes
    with collector() as spans:
        async with start(folder, spans, identity={"accept": ["keys"], "keys": str(keys.path)}) as running:
            yield running, keys


def bearer(token: str) -> Metadata:
    return (("authorization", f"Bearer {token}"),)


async def refused(suite: Running, metadata: Metadata) -> grpc.aio.AioRpcError:
    """The status that a call is refused with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await suite.edge.GetUsage(pb.GetUsageRequest(), timeout=20, metadata=metadata)
    return caught.value


async def test_keys_are_told_nowhere(keyed: tuple[Running, Keys]) -> None:
    """Served, refused, doubled, misplaced and misshapen keys: none is in a span, metric, log line or status."""
    suite, keys = keyed
    trace, _, metadata = context()
    _, receipt = await suite.complete("What is the capital of Norway?", metadata=(*metadata, *bearer(keys.acme)))
    await suite.complete("What is the capital of Norway?", metadata=(("x-api-key", keys.globex),))
    with pytest.raises(grpc.aio.AioRpcError):
        await suite.complete("  ", metadata=bearer(keys.acme))
    told = [
        await refused(suite, shown)
        for shown in (
            bearer(keys.revoked),
            bearer(keys.expired),
            bearer(keys.wrong),
            (("authorization", keys.acme),),
            (("authorization", f"Basic {keys.acme}"),),
            (("authorization", f"Bearer {keys.acme} {keys.globex}"),),
            (*bearer(keys.acme), ("x-api-key", keys.acme)),
            (("x-api-key", f"Bearer {keys.acme}"),),
            (("authorization-bin", keys.acme.encode()),),
        )
    ]
    assert {error.code() for error in told} == {UNAUTHENTICATED}
    found = await kept(suite, trace, 7, COMPLETE)  # of a call that was tried twice there are more
    assert found[COMPLETE]
    assert found[GENERATE]
    assert suite.collector
    places = {
        "spans": b"\n".join(suite.collector.bodies),
        "metrics": (await suite.scrape() + await suite.scrape(openmetrics=True)).encode(),
        "logs": b"\n".join(log.read_bytes() for log in suite.logs),
        "statuses": "\n".join(f"{error.details()} {error.trailing_metadata()!r}" for error in told).encode(),
    }
    assert receipt.request_id.encode() in places["spans"]
    assert b"FIELD_INVALID" in places["spans"]  # who is refused for its key leaves no span
    assert b"CREDENTIALS_INVALID" in places["metrics"]
    assert b"CREDENTIALS_INVALID" in places["logs"] or not suite.logs
    for place, content in places.items():
        for token in keys.tokens:
            for secret in (token, token.split("_")[2], token[-20:]):
                assert secret.encode() not in content, place


async def test_tenant_and_key_id_are_in_the_log_alone(keyed: tuple[Running, Keys]) -> None:
    """A call's log line names its tenant and its key's id; no label of a metric does."""
    suite, keys = keyed
    _, receipt = await suite.complete("What is the capital of Sweden?", metadata=bearer(keys.globex))
    pages = await suite.scrape()
    for name in ("acme", "globex", *(id_of(token) for token in keys.tokens)):
        assert name not in pages
    usage = await suite.edge.GetUsage(
        pb.GetUsageRequest(group_by=[pb.USAGE_DIMENSION_TENANT]), timeout=20, metadata=bearer(keys.operator)
    )
    assert "globex" in {group.tenant for group in usage.groups}
    if not suite.logs:
        return  # one process logs through pytest's own stderr; the same code runs in four processes
    lines = [json.loads(line) for log in suite.logs for line in log.read_text().splitlines() if line.startswith("{")]
    (line,) = [
        line
        for line in lines
        if line.get("request_id") == receipt.request_id and line["event"] == "call" and line["method"] == "Complete"
    ]
    assert (line["tenant"], line["caller"]) == ("globex", f"key {id_of(keys.globex)}")
