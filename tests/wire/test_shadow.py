"""From an answer to the router's log, on real models: the strong model is asked beside, and it is on the books."""

import asyncio
import json
from pathlib import Path
from typing import Any

from fulcrum.edge.v1 import edge_service_pb2 as pb
from fulcrum.edge.v1.edge_service_pb2_grpc import EdgeServiceStub
from fulcrum.executor.v1 import chat_pb2
from fulcrum.router.v1 import objective_pb2

from services.chassis.settings import read_file
from services.cli.assembly import assemble_suite, suite_settings
from services.router.prompt_digest import PromptDigest, kept_key

_PROMPTS = ("Convert 3 km to m.", "Convert 5 km to m.", "Convert 7 kg to g.")


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _scored(path: Path, model: str) -> set[str]:
    """Decisions of which this model's answer was scored."""
    return {line["decision_id"] for line in _lines(path) if line["planned"]["model"] == model}


async def test_a_weak_answer_is_scored_beside_the_strong_ones(tmp_path: Path) -> None:
    """The router logs scores of both models with the probability of the draw, whoever answered; usage has the cost."""
    log = tmp_path / "outcomes.jsonl"
    changes: dict[str, dict[str, Any]] = {
        "server": {"port": 0, "log_level": "error"},
        "cache": {"database": str(tmp_path / "cache.sqlite")},
        "router": {"outcome_log": str(log)},
        "executor": {"models": read_file(Path("deploy/local.yaml"))["executor"]["models"]},
        "edge": {
            "ledger": {"database": str(tmp_path / "ledger.sqlite")},
            "shadow": {"share": 1.0, "explore": 1.0, "judge": "fulcrum-large", "max_output_tokens": 64},
        },
    }
    process, components = assemble_suite(suite_settings(Path("deploy/local.yaml"), changes))
    for component in components:
        await component.start()
    edge: Any = EdgeServiceStub(process.local_channel(components))
    decisions: dict[str, set[str]] = {"fulcrum-small": set(), "fulcrum-large": set()}  # by the model that was served
    try:
        for prompt in _PROMPTS:
            for bound, model in ((1.0, "fulcrum-small"), (0.0, "fulcrum-large")):
                turn = chat_pb2.Message(role=chat_pb2.ROLE_USER, content=prompt)
                asked = pb.CompleteRequest(messages=[turn], objective=objective_pb2.Objective(max_quality_loss=bound))
                events = [event async for event in edge.Complete(asked, timeout=60)]
                assert events[-1].receipt.model == model
                decisions[model].add(events[-1].receipt.route.decision_id)
        async with asyncio.timeout(30):
            # answers of equal words are scored, whatever such a small judge says
            while not all(_scored(log, "fulcrum-small") & made for made in decisions.values()):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        usage = await edge.GetUsage(pb.GetUsageRequest(), timeout=5)
    finally:
        for component in reversed(components):
            await component.close()
    (unanswered,) = usage.unanswered
    assert unanswered.kind == pb.UNANSWERED_KIND_SHADOW
    assert unanswered.executions >= 1
    assert 0 < unanswered.actual_nano_usd < usage.total.actual_nano_usd
    scored = _lines(log)
    assert {line["planned"]["model"] for line in scored} == {"fulcrum-small", "fulcrum-large"}
    assert all(line["sampled"] == 1.0 and line["explored"] and line["source"].startswith("shadow:") for line in scored)
    digest = PromptDigest(kept_key(log))
    assert {line["group"] for line in scored} <= {digest.of("local", prompt) for prompt in _PROMPTS}
