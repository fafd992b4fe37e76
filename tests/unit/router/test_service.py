"""The component: nothing is read before start, settings that cannot be used say so, and a call stays in its budget."""

import json
import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from fulcrum.embedding.v1 import embedding_pb2
from fulcrum.router.v1 import objective_pb2
from fulcrum.router.v1 import router_service_pb2 as pb
from google.protobuf import duration_pb2

from services.chassis.errors import InvalidField, NotFound, Unavailable
from services.chassis.settings import ConfigError
from services.router.__main__ import assemble
from services.router.router import load_router
from services.router.service import RouterServicer
from services.router.settings import RouterSettings
from tests.unit.router.parts import DIGEST, artefact, written

CONTEXT: Any = None
VALUES = np.eye(1, 4, dtype="<f4").tobytes()
CATALOGUE = """
models:
  - {name: large, context_tokens: 4000, default: true, price: {published: {provider: openai, model: gpt-4o}}}
  - {name: small, context_tokens: 1000, price: {published: {provider: openai, model: gpt-4o-mini}}}
  - {name: unpriced, context_tokens: 1000, domains: [law]}
"""


def settings(folder: Path, catalogue: str = CATALOGUE, **changes: Any) -> RouterSettings:
    path = folder / "router.safetensors"
    artefact().save(path)
    known: dict[str, Any] = {"predictor": path, "max_quality_loss": 0.5}
    return RouterSettings(**(known | {"catalogue": written(folder, catalogue)} | changes))


def embedding(values: bytes = VALUES) -> embedding_pb2.Embedding:
    return embedding_pb2.Embedding(values=values, dimension=4, encoder_digest=DIGEST)


@pytest.fixture
def servicer(tmp_path: Path) -> RouterServicer:
    made = RouterServicer()
    made.open(load_router(settings(tmp_path, outcome_log=tmp_path / "outcomes.jsonl")))
    return made


async def test_a_decision_from_route_to_feedback(servicer: RouterServicer, tmp_path: Path) -> None:
    """A routed prompt can be assessed and scored under its id; unknown figures stay unset on the wire."""
    objective = objective_pb2.Objective(max_quality_loss=0.5, max_latency=duration_pb2.Duration(seconds=5))
    request = pb.RouteRequest(text="hello", embedding=embedding(), objective=objective)
    response = await servicer.Route(request, CONTEXT)
    assert [one.model for one in response.plan] == ["small", "large", "unpriced"]
    assert response.reason == pb.ROUTE_REASON_CHEAPEST_WITHIN_LOSS
    assert not response.plan[2].HasField("expected_cost_nano_usd")
    assert not response.plan[2].HasField("predicted_loss")
    signals = pb.Signals(model="small", complete=False, output_tokens=3)
    judged = await servicer.Assess(pb.AssessRequest(decision_id=response.decision_id, signals=signals), CONTEXT)
    assert (judged.action, judged.escalate_to) == (pb.ASSESS_ACTION_ESCALATE, "large")
    score = pb.FeedbackRequest(decision_id=response.decision_id, model="small", score=0.5, source="user")
    await servicer.Feedback(score, CONTEXT)
    (line,) = (tmp_path / "outcomes.jsonl").read_text().splitlines()
    assert json.loads(line)["decision_id"] == response.decision_id
    assert (json.loads(line)["bound"], json.loads(line)["contested"]) == (0.5, {"small": pytest.approx(0.08)})
    assert json.loads(line)["excluded"] == []
    await servicer.close()


async def test_a_clients_word_is_logged_once_and_of_its_own_tenant(servicer: RouterServicer, tmp_path: Path) -> None:
    """The first on each model's answer, so that one on a model that never answered hides no true one; another
    tenant's decision is not found."""
    response = await servicer.Route(pb.RouteRequest(text="hello", embedding=embedding(), tenant="acme"), CONTEXT)
    said = pb.FeedbackRequest(decision_id=response.decision_id, model="small", score=0, source="client", tenant="acme")
    for tenant in ("rival", ""):
        theirs = pb.FeedbackRequest()
        theirs.CopyFrom(said)
        theirs.tenant = tenant
        with pytest.raises(NotFound, match="decision_id"):
            await servicer.Feedback(theirs, CONTEXT)
    for said.model, said.score in (("large", 1), ("small", 0), ("small", 1), ("large", 0)):
        await servicer.Feedback(said, CONTEXT)
    said.model = "other"
    with pytest.raises(NotFound, match="model"):
        await servicer.Feedback(said, CONTEXT)
    lines = [json.loads(line) for line in (tmp_path / "outcomes.jsonl").read_text().splitlines()]
    assert [(line["planned"]["model"], line["score"]) for line in lines] == [("large", 1), ("small", 0)]
    assert [(line["source"], line["sampled"]) for line in lines] == [("client", None)] * 2
    await servicer.close()


async def test_a_decision_is_known_to_the_replica_that_made_it(servicer: RouterServicer, tmp_path: Path) -> None:
    """Another that runs beside it finds it neither for a word nor for an answer to assess."""
    other = RouterServicer()
    other.open(load_router(settings(tmp_path)))
    made = (await servicer.Route(pb.RouteRequest(text="hello", embedding=embedding()), CONTEXT)).decision_id
    with pytest.raises(NotFound, match="decision_id"):
        await other.Feedback(pb.FeedbackRequest(decision_id=made, model="small", score=0, source="client"), CONTEXT)
    with pytest.raises(NotFound, match="decision_id"):
        await other.Assess(pb.AssessRequest(decision_id=made, signals=pb.Signals(model="small")), CONTEXT)


@pytest.mark.parametrize("source", ["client", "judge"])
async def test_a_word_that_could_not_be_logged_may_be_said_again(
    servicer: RouterServicer, tmp_path: Path, source: str
) -> None:
    """It is an error that names the setting and what is wrong, not where the file is; the repeat is logged."""
    response = await servicer.Route(pb.RouteRequest(text="hello", embedding=embedding()), CONTEXT)
    said = pb.FeedbackRequest(decision_id=response.decision_id, model="small", score=0, source=source)
    log = tmp_path / "outcomes.jsonl"
    log.mkdir()
    with pytest.raises(Unavailable, match=r"router.outcome_log: got 'Is a directory', expected a file that") as caught:
        await servicer.Feedback(said, CONTEXT)
    assert str(tmp_path) not in str(caught.value)
    log.rmdir()
    await servicer.Feedback(said, CONTEXT)
    assert len(log.read_text().splitlines()) == 1
    await servicer.close()


async def test_unset_fields_mean_the_operators_settings(tmp_path: Path) -> None:
    """An objective without a bound is held to the operator's."""
    made = RouterServicer()
    made.open(load_router(settings(tmp_path, max_quality_loss=1.0)))
    bare = await made.Route(pb.RouteRequest(text="x", embedding=embedding()), CONTEXT)
    limited = pb.RouteRequest(
        text="x", embedding=embedding(), objective=objective_pb2.Objective(denied_models=["unpriced"])
    )
    assert bare.plan[0].model == (await made.Route(limited, CONTEXT)).plan[0].model == "small"


async def test_lists_models_by_page(servicer: RouterServicer) -> None:
    """Pages hold every model once, cheapest first; an unpriced one carries no price; a foreign token is refused."""
    found: list[pb.CatalogueModel] = []
    token = ""
    while not found or token:
        page = await servicer.ListModels(pb.ListModelsRequest(page_size=2, page_token=token), CONTEXT)
        found += page.models
        token = page.next_page_token
    assert [(one.name, one.WhichOneof("price")) for one in found] == [
        ("small", "list_price"),
        ("large", "list_price"),
        ("unpriced", None),
    ]
    assert [one.is_default for one in found] == [False, True, False]
    for token in ("?", "-1", "4", "²"):
        with pytest.raises(InvalidField):
            await servicer.ListModels(pb.ListModelsRequest(page_token=token), CONTEXT)


async def test_values_must_fill_the_dimension(servicer: RouterServicer) -> None:
    """Bytes that are not four for each value are refused."""
    with pytest.raises(InvalidField, match=r"embedding.values: got '15 bytes', expected 16 bytes"):
        await servicer.Route(pb.RouteRequest(text="x", embedding=embedding(values=bytes(15))), CONTEXT)


async def test_nothing_is_served_before_start(tmp_path: Path) -> None:
    """Assembling reads no file; a call before start is UNAVAILABLE; start reports a bad file; close is safe."""
    server = grpc.aio.server()
    component = assemble(RouterSettings(catalogue=tmp_path / "none.yaml"))
    component.register(server)
    assert component.services == ("fulcrum.router.v1.RouterService",)
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        await component.start()
    await component.close()
    with pytest.raises(Unavailable):
        await RouterServicer().Route(pb.RouteRequest(text="x"), CONTEXT)


async def test_a_predictor_of_another_default_is_not_used(tmp_path: Path) -> None:
    """Where the catalogue names another strong model, its losses are not known and the strong model answers."""
    text = CATALOGUE.replace("name: large", "name: huge")
    made = RouterServicer()
    made.open(load_router(settings(tmp_path, text, max_quality_loss=1.0)))
    response = await made.Route(pb.RouteRequest(text="x", embedding=embedding()), CONTEXT)
    assert (response.plan[0].model, response.reason) == ("huge", pb.ROUTE_REASON_NO_PREDICTOR)


async def test_route_stays_in_its_budget(servicer: RouterServicer) -> None:
    """A routed prompt costs well under a millisecond of CPU; the measured figure is far lower."""
    request = pb.RouteRequest(text="Convert 12 km to metres. " * 8, embedding=embedding())
    begin, rounds = time.process_time(), 200
    for _ in range(rounds):
        await servicer.Route(request, CONTEXT)
    assert (time.process_time() - begin) / rounds < 0.001
