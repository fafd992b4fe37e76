"""A router that is replaced while it serves: no call fails, and each decision is by one version."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from fulcrum.embedding.v1 import embedding_pb2
from fulcrum.router.v1 import router_service_pb2 as pb
from fulcrum.router.v1.router_service_pb2_grpc import RouterServiceStub

from services.chassis.channel import connect
from services.chassis.settings import ServerSettings
from services.router.__main__ import assemble
from services.router.artefact import load_artefact
from services.router.versions import Versions
from tests.unit.router.parts import DIGEST, artefact
from tests.unit.router.test_service import VALUES, settings
from tests.wire.suites import serving

_EMBEDDING = embedding_pb2.Embedding(values=VALUES, dimension=4, encoder_digest=DIGEST)
_SWAPS = 5


def fitted(folder: Path, number: int) -> tuple[Path, str, float]:
    """A router that expects a loss of its own of the small model, its version, and that loss."""
    path, loss = folder / f"fitted-{number}.safetensors", 0.01 * (number + 1)
    artefact(losses=(loss, 0.5, 0.0)).save(path)
    return path, load_artefact(path).version, loss


async def test_versions_change_under_load(tmp_path: Path) -> None:
    """While calls go on without a pause every new version is taken, and then an older one; a decision of a version that
    is gone can still be assessed and scored."""
    configured = settings(tmp_path)
    assert configured.predictor
    versions = Versions(configured.predictor)
    known = [fitted(tmp_path, number) for number in range(_SWAPS)]
    loss_of = {version: loss for _, version, loss in known}
    versions.publish(known[0][0])
    async with serving(assemble(configured), ServerSettings(port=0, log_level="error")) as address:
        channel = connect(address)
        stub: Any = RouterServiceStub(channel)
        first = await stub.Route(pb.RouteRequest(text="first", embedding=_EMBEDDING), timeout=5)
        seen: list[pb.RouteResponse] = []
        done = asyncio.Event()

        async def call() -> None:
            while not done.is_set():
                seen.append(await stub.Route(pb.RouteRequest(text="hello", embedding=_EMBEDDING), timeout=5))

        async def until(version: str) -> None:
            while not seen or seen[-1].predictor_version != version:
                seen.append(await stub.Route(pb.RouteRequest(text="hello", embedding=_EMBEDDING), timeout=5))

        callers = [asyncio.create_task(call()) for _ in range(4)]
        async with asyncio.timeout(30):
            for path, version, _ in known[1:]:
                await asyncio.to_thread(versions.publish, path)
                await until(version)
            await asyncio.to_thread(versions.rollback, "large")
            await until(known[-2][1])
        done.set()
        await asyncio.gather(*callers)
        assert {response.predictor_version for response in seen} == set(loss_of)
        for response in seen:
            (small,) = [planned for planned in response.plan if planned.model == "small"]
            assert small.predicted_loss == pytest.approx(loss_of[response.predictor_version], abs=1e-6)
        signals = pb.Signals(model="small", complete=False, output_tokens=3)
        judged = await stub.Assess(pb.AssessRequest(decision_id=first.decision_id, signals=signals), timeout=5)
        assert judged.escalate_to == "large"
        score = pb.FeedbackRequest(decision_id=first.decision_id, model="small", score=0.5, source="user")
        await stub.Feedback(score, timeout=5)
        await channel.close()


async def test_a_file_that_cannot_be_used_leaves_what_serves(tmp_path: Path) -> None:
    """Half a file, or another default model's router, changes nothing; the next good one is taken."""
    configured = settings(tmp_path)
    assert configured.predictor
    before = load_artefact(configured.predictor).version
    async with serving(assemble(configured), ServerSettings(port=0, log_level="error")) as address:
        channel = connect(address)
        stub: Any = RouterServiceStub(channel)

        async def version() -> str:
            response = await stub.Route(pb.RouteRequest(text="hello", embedding=_EMBEDDING), timeout=5)
            found: str = response.predictor_version
            return found

        whole = configured.predictor.read_bytes()
        configured.predictor.write_bytes(whole[: len(whole) // 2])
        await asyncio.sleep(1.2)
        assert await version() == before
        artefact(default_model="small").save(configured.predictor)
        await asyncio.sleep(1.2)
        assert await version() == before
        artefact(seed=7).save(configured.predictor)
        after = load_artefact(configured.predictor).version
        async with asyncio.timeout(10):
            while await version() != after:
                pass
        await channel.close()
