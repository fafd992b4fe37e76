"""From a caller who waits to one receipt, on real models: a cheap answer is served where its model was sure of it."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import yaml
from fulcrum.edge.v1 import edge_service_pb2 as pb
from fulcrum.edge.v1 import receipt_pb2
from fulcrum.edge.v1.edge_service_pb2_grpc import EdgeServiceStub
from fulcrum.executor.v1 import chat_pb2
from fulcrum.router.v1 import objective_pb2

from services.chassis.settings import read_file
from services.cli.assembly import assemble_suite, suite_settings
from services.router.artefact import load_artefact
from services.router.risk import REPEATS

SMALL, LARGE = "fulcrum-small", "fulcrum-large"
PROMPTS = (
    "Convert 3 km to m.",
    "Give 31 tonnes in kilograms.",
    "What is 17 plus 26?",
    "Sort these numbers: 9 4 7 1",
    "Reverse the word planet.",
    "What is 412 plus 893?",
    "Convert 12 miles to feet.",
    "What day of the week was 3 March 1987?",
)
_PROMPTS_CALIBRATED = 1500


def _router(folder: Path, agreement: bool) -> dict[str, str]:
    """The shipped predictor, calibrated as if unsure answers harmed, and a small model whose machine costs a tenth.

    Probabilities tell who is sure, or `agreement` alone, where the small model's machine costs a fiftieth.
    """
    shipped, rng = load_artefact(Path("models/router/router.safetensors")), np.random.default_rng(0)
    column = shipped.facts.models.index(SMALL)
    losses = np.zeros((_PROMPTS_CALIBRATED, 2), np.float32)
    losses[:, column] = rng.uniform(0.1, 0.9, _PROMPTS_CALIBRATED)
    sure = rng.uniform(size=_PROMPTS_CALIBRATED) < 0.5
    harms = np.zeros(losses.shape, np.bool_)
    harms[:, column] = ~sure & (rng.uniform(size=_PROMPTS_CALIBRATED) < 0.9)
    certainty = np.full(losses.shape, np.nan, np.float32)
    certainty[:, column] = -np.where(sure, rng.uniform(0, 0.1, len(sure)), rng.uniform(0.2, 0.6, len(sure)))
    if agreement:
        certainty[:, column] = np.where(sure, 1.0, 2 / 3)
    calibrated = replace(
        shipped,
        calibration_losses=losses,
        calibration_harms=harms,
        calibration_groups=np.arange(_PROMPTS_CALIBRATED, dtype=np.int32),
        calibration_mean_logprobs=None if agreement else certainty,
        calibration_agreements=certainty if agreement else None,
        calibration_prompts=None,
    )
    calibrated.save(folder / "router.safetensors")
    catalogue = yaml.safe_load(Path("deploy/catalogue.yaml").read_text())
    for model in catalogue["models"]:
        model["price"]["machine"]["usd_per_hour"] = 0.9 if model["name"] == LARGE else 0.018 if agreement else 0.09
    (folder / "catalogue.yaml").write_text(yaml.safe_dump(catalogue))
    return {"predictor": str(folder / "router.safetensors"), "catalogue": str(folder / "catalogue.yaml")}


@pytest_asyncio.fixture
async def edge(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    changes: dict[str, dict[str, Any]] = {
        "server": {"port": 0, "log_level": "error"},
        "cache": {"database": str(tmp_path / "cache.sqlite")},
        "router": _router(tmp_path, agreement=getattr(request, "param", "") == "agreement"),
        "executor": {"models": read_file(Path("deploy/local.yaml"))["executor"]["models"]},
        "edge": {"ledger": {"database": str(tmp_path / "ledger.sqlite")}},
    }
    process, components = assemble_suite(suite_settings(Path("deploy/local.yaml"), changes))
    for component in components:
        await component.start()
    try:
        yield EdgeServiceStub(process.local_channel(components))
    finally:
        for component in reversed(components):
            await component.close()


async def ask(edge: Any, prompt: str, whole: bool) -> tuple[str, receipt_pb2.Receipt]:
    turn = chat_pb2.Message(role=chat_pb2.ROLE_USER, content=prompt)
    wanted = objective_pb2.Objective(max_quality_loss=0.02, whole_answer=whole)
    asked = pb.CompleteRequest(messages=[turn], objective=wanted, sampling=chat_pb2.Sampling(seed=1))
    events = [event async for event in edge.Complete(asked, timeout=60)]
    assert not any(event.text_delta.logprobs for event in events[:-1])
    return "".join(event.text_delta.text for event in events[:-1]), events[-1].receipt


async def test_sure_answers_are_served_and_others_are_escalated(edge: Any) -> None:
    """Both happen; receipts tell what was discarded and what that cost, and their sum is the ledger's."""
    receipts = [(await ask(edge, prompt, whole=True))[1] for prompt in PROMPTS]
    kept = [receipt for receipt in receipts if receipt.model == SMALL]
    escalated = [receipt for receipt in receipts if receipt.model == LARGE]
    assert kept
    assert escalated
    for receipt in kept:
        assert (len(receipt.discarded), receipt.attempts) == (0, 1)
    for receipt in escalated:
        (discarded,) = receipt.discarded
        assert (discarded.model, receipt.attempts) == (SMALL, 2)
        assert discarded.usage.output_tokens > 0
        assert 0 < receipt.cost.discarded_nano_usd < receipt.cost.actual_nano_usd
        saved = sum(lever.saved_nano_usd for lever in receipt.cost.levers)
        assert receipt.cost.baseline_nano_usd - saved == receipt.cost.actual_nano_usd
    assert all(receipt.route.alternatives[0].model == SMALL for receipt in receipts)
    usage = await edge.GetUsage(pb.GetUsageRequest(), timeout=5)
    assert usage.total.actual_nano_usd == sum(receipt.cost.actual_nano_usd for receipt in receipts)
    assert (usage.total.requests, usage.total.abandoned) == (len(PROMPTS), 0)


async def test_what_is_discarded_is_not_kept(edge: Any) -> None:
    """Asked again, each answer comes from the cache as it was served; a caller who streams is not kept waiting."""
    served = {prompt: await ask(edge, prompt, whole=True) for prompt in PROMPTS}
    for prompt, (text, receipt) in served.items():
        again, hit = await ask(edge, prompt, whole=True)
        assert (again, hit.model, len(hit.discarded)) == (text, receipt.model, 0)
        assert hit.cost.actual_nano_usd == 0
        _, streamed = await ask(edge, prompt, whole=False)
        assert (streamed.model, len(streamed.discarded)) == (LARGE, 0)


@pytest.mark.parametrize("edge", ["agreement"], indirect=True)
async def test_where_agreement_decides_repeats_are_on_the_receipt(edge: Any) -> None:
    """An answer that three repeats agree with is served, others are escalated, and every answer is paid for."""
    receipts = [(await ask(edge, prompt, whole=True))[1] for prompt in PROMPTS]
    assert {receipt.model for receipt in receipts} == {SMALL, LARGE}
    for receipt in receipts:
        kept = receipt.model == SMALL
        assert [one.model for one in receipt.discarded] == [SMALL] * (REPEATS if kept else 1 + REPEATS)
        assert receipt.attempts == 1 + REPEATS + (not kept)
        assert f"of {REPEATS} repeats agree" in receipt.route.explanation
        assert (f"{REPEATS} of {REPEATS} repeats agree" in receipt.route.explanation) is kept
        assert 0 < receipt.cost.discarded_nano_usd < receipt.cost.actual_nano_usd
        saved = sum(lever.saved_nano_usd for lever in receipt.cost.levers)
        assert receipt.cost.baseline_nano_usd - saved == receipt.cost.actual_nano_usd
    usage = await edge.GetUsage(pb.GetUsageRequest(), timeout=5)
    assert usage.total.actual_nano_usd == sum(receipt.cost.actual_nano_usd for receipt in receipts)
