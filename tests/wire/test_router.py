"""RouterService, the same on both bindings."""

from typing import Any

import grpc
import numpy as np
import pytest
from fulcrum.embedding.v1 import embedding_pb2, embedding_service_pb2
from fulcrum.router.v1 import objective_pb2
from fulcrum.router.v1 import router_service_pb2 as pb

from tests.wire.expect import refused
from tests.wire.suites import ENDLESS, MAX_MESSAGE_BYTES, Suite

INVALID = grpc.StatusCode.INVALID_ARGUMENT
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION


async def embedded(suite: Suite, text: str) -> embedding_pb2.Embedding:
    response = await suite.embedding.Embed(embedding_service_pb2.EmbedRequest(texts=[text]), timeout=30)
    embedding: embedding_pb2.Embedding = response.embeddings[0]
    return embedding


async def test_plans_within_the_bound(suite: Suite) -> None:
    """With any loss allowed the cheapest model is chosen, with none the strong one; both explain themselves."""
    text = "Reverse the word stone."
    vector = await embedded(suite, text)

    async def plan(loss: float) -> pb.RouteResponse:
        objective = objective_pb2.Objective(max_quality_loss=loss)
        request = pb.RouteRequest(text=text, embedding=vector, objective=objective)
        response: pb.RouteResponse = await suite.router.Route(request, timeout=5)
        return response

    careless, careful = await plan(1.0), await plan(0.0)
    assert [model.model for model in careless.plan][:2] == ["fulcrum-small", "fulcrum-large"]
    assert careless.reason == pb.ROUTE_REASON_CHEAPEST_WITHIN_LOSS
    assert careful.plan[0].model == "fulcrum-large"
    assert careless.explanation
    assert careful.explanation
    cheap, strong = careless.plan[:2]
    assert 0 <= cheap.predicted_quality <= 1
    assert 0 < cheap.expected_cost_nano_usd < strong.expected_cost_nano_usd


async def test_goals_and_alternatives(suite: Suite) -> None:
    """The goal decides among models within the bound; every plan lists quality, loss, cost and time of each model."""
    text = "Reverse the word stone."
    vector = await embedded(suite, text)
    speeds = [
        pb.MeasuredSpeed(model=name, speed=pb.Speed(first_token={"nanos": 10_000_000}, output_tokens_per_second=rate))
        for name, rate in (("fulcrum-small", 100), ("fulcrum-large", 50), (ENDLESS, 1), ("gone", 1))
    ]

    async def plan(goal: objective_pb2.Goal, loss: float) -> pb.RouteResponse:
        objective = objective_pb2.Objective(max_quality_loss=loss, goal=goal)
        request = pb.RouteRequest(text=text, embedding=vector, objective=objective, measured_speeds=speeds)
        response: pb.RouteResponse = await suite.router.Route(request, timeout=5)
        return response

    for goal, loss, model, reason in (
        (objective_pb2.GOAL_FASTEST, 1.0, "fulcrum-small", pb.ROUTE_REASON_FASTEST_WITHIN_LOSS),
        (objective_pb2.GOAL_FASTEST, 0.0, "fulcrum-large", pb.ROUTE_REASON_NO_CHEAPER_FITS),
        (objective_pb2.GOAL_BEST, 0.0, "fulcrum-large", pb.ROUTE_REASON_BEST_WITHIN_LIMITS),
    ):
        response = await plan(goal, loss)
        assert (response.plan[0].model, response.reason) == (model, reason), response
        assert len(response.plan) == 3
        for planned in response.plan:
            assert planned.expected_cost_nano_usd > 0
            assert planned.expected_latency.ToNanoseconds() > 0
            known = planned.model != ENDLESS
            assert planned.HasField("predicted_quality") is planned.HasField("predicted_loss") is known


async def test_a_turn_that_leans_on_its_conversation(suite: Suite) -> None:
    """What says nothing without the turns before it goes to the strong model, whatever may be lost."""
    text = "And the second one?"
    request = pb.RouteRequest(text=text, embedding=await embedded(suite, text), earlier_turns=2)
    request.objective.max_quality_loss = 1.0
    response = await suite.router.Route(request, timeout=5)
    assert (response.plan[0].model, response.reason) == ("fulcrum-large", pb.ROUTE_REASON_NEEDS_CONVERSATION)


async def test_a_tools_result_goes_back_to_its_caller(suite: Suite) -> None:
    """The model that made a tool call goes on with its result, which nothing can be predicted from."""
    request = pb.RouteRequest(text='{"celsius": 20}', earlier_turns=2, answers_tool_call=True)
    request.current_model, request.objective.max_quality_loss = "fulcrum-small", 0.1
    response = await suite.router.Route(request, timeout=5)
    assert (response.plan[0].model, response.reason) == ("fulcrum-small", pb.ROUTE_REASON_CONTINUES_TOOL_CALL)


async def test_a_session_stays_while_its_prefix_is_worth_more(suite: Suite) -> None:
    """With most of the prompt held by the strong model, a cheaper one that has to read it all is not cheaper."""
    text = "Reverse the word stone."
    request = pb.RouteRequest(text=text, embedding=await embedded(suite, text), input_tokens=400, max_output_tokens=1)
    request.objective.max_quality_loss = 1.0
    request.candidates.extend(["fulcrum-small", "fulcrum-large"])
    moved = await suite.router.Route(request, timeout=5)
    assert moved.plan[0].model == "fulcrum-small"
    request.current_model, request.cached_prefix_tokens = "fulcrum-large", 390
    stayed = await suite.router.Route(request, timeout=5)
    assert (stayed.plan[0].model, stayed.reason) == ("fulcrum-large", pb.ROUTE_REASON_CACHED_PREFIX)
    assert "390 tokens" in stayed.explanation


async def test_strong_without_embedding(suite: Suite) -> None:
    """With nothing to predict from, the strong model answers."""
    response = await suite.router.Route(pb.RouteRequest(text="x"), timeout=5)
    assert response.plan[0].model == "fulcrum-large"
    assert response.reason == pb.ROUTE_REASON_NO_EMBEDDING


async def test_assess_and_feedback(suite: Suite) -> None:
    """A complete answer is accepted, an incomplete one of the cheap model escalated; unknown decisions are refused."""
    text = "Reverse the word stone."
    objective = objective_pb2.Objective(max_quality_loss=1.0)
    request = pb.RouteRequest(text=text, embedding=await embedded(suite, text), objective=objective)
    decision = (await suite.router.Route(request, timeout=5)).decision_id

    def assess(decision_id: str, complete: bool) -> pb.AssessRequest:
        signals = pb.Signals(model="fulcrum-small", complete=complete, output_tokens=5)
        return pb.AssessRequest(decision_id=decision_id, signals=signals)

    accepted = await suite.router.Assess(assess(decision, True), timeout=5)
    assert accepted.action == pb.ASSESS_ACTION_ACCEPT
    escalated = await suite.router.Assess(assess(decision, False), timeout=5)
    assert (escalated.action, escalated.escalate_to) == (pb.ASSESS_ACTION_ESCALATE, "fulcrum-large")
    score = pb.FeedbackRequest(decision_id=decision, model="fulcrum-small", score=1.0, source="test")
    await suite.router.Feedback(score, timeout=5)
    not_found = grpc.StatusCode.NOT_FOUND
    await refused(suite.router.Assess(assess("never", True), timeout=5), not_found, "ID_UNKNOWN", "decision_id")
    unknown = pb.FeedbackRequest(decision_id="never", model="m", score=1.0, source="test")
    await refused(suite.router.Feedback(unknown, timeout=5), not_found, "ID_UNKNOWN", "decision_id")
    beyond = pb.FeedbackRequest(decision_id=decision, model="m", score=1.5, source="test")
    await refused(suite.router.Feedback(beyond, timeout=5), INVALID, "FIELD_INVALID", "score")
    never = pb.FeedbackRequest(decision_id=decision, model="m", score=1.0, source="test", sampling_probability=0.0)
    await refused(suite.router.Feedback(never, timeout=5), INVALID, "FIELD_INVALID", "sampling_probability")


async def test_lists_the_catalogue(suite: Suite) -> None:
    """Models come cheapest first, in pages, priced, with exactly one default."""
    first = await suite.router.ListModels(pb.ListModelsRequest(page_size=1), timeout=5)
    rest = await suite.router.ListModels(pb.ListModelsRequest(page_token=first.next_page_token), timeout=5)
    models = [*first.models, *rest.models]
    assert models[0].name == "fulcrum-small"
    assert [model.name for model in models if model.is_default] == ["fulcrum-large"]
    assert all(model.WhichOneof("price") for model in models)
    assert not first.promise.suspended
    assert first.promise.judged_answers >= first.promise.harmed_answers
    bad = pb.ListModelsRequest(page_token="?")
    await refused(suite.router.ListModels(bad, timeout=5), INVALID, "FIELD_INVALID", "page_token")


def route(text: str = "x", **fields: Any) -> pb.RouteRequest:
    return pb.RouteRequest(text=text, **fields)


def wanting(**fields: Any) -> pb.RouteRequest:
    return route(objective=objective_pb2.Objective(**fields))


@pytest.mark.parametrize(
    ("request_", "code", "reason", "field"),
    [
        (route(""), INVALID, "FIELD_INVALID", "text"),
        (wanting(max_quality_loss=-0.1), INVALID, "FIELD_INVALID", "objective.max_quality_loss"),
        (wanting(confidence=1.0), INVALID, "FIELD_INVALID", "objective.confidence"),
        (wanting(goal=9), INVALID, "FIELD_INVALID", "objective.goal"),
        (wanting(max_latency={"nanos": 1}), PRECONDITION, "OBJECTIVE_IMPOSSIBLE", "objective.max_latency"),
        (
            route(measured_speeds=[pb.MeasuredSpeed(model="m", speed=pb.Speed(output_tokens_per_second=0))]),
            INVALID,
            "FIELD_INVALID",
            "measured_speeds[0].speed.first_token",
        ),
        (route(candidates=["gtp-4"]), grpc.StatusCode.NOT_FOUND, "MODEL_UNKNOWN", "candidates"),
        (wanting(allowed_models=["gtp-4"]), grpc.StatusCode.NOT_FOUND, "MODEL_UNKNOWN", "objective.allowed_models"),
        (wanting(max_cost_nano_usd=0), PRECONDITION, "OBJECTIVE_IMPOSSIBLE", "objective.max_cost_nano_usd"),
        (
            wanting(denied_models=["fulcrum-small", "fulcrum-large", ENDLESS]),
            PRECONDITION,
            "OBJECTIVE_IMPOSSIBLE",
            "objective.denied_models",
        ),
        (route(input_tokens=10**9), INVALID, "PROMPT_TOO_LONG", "input_tokens"),
        (route("x" * MAX_MESSAGE_BYTES), grpc.StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE", "message"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_refusals(
    suite: Suite, request_: pb.RouteRequest, code: grpc.StatusCode, reason: str, field: str
) -> None:
    """Each bad request gets its canonical status and names the field."""
    await refused(suite.router.Route(request_, timeout=5), code, reason, field)


async def test_bad_vectors(suite: Suite) -> None:
    """A vector of wrong length, not a number, or of another encoder is refused."""
    vector = await embedded(suite, "x")
    changes = [
        ("values", bytes(4 * 383), INVALID, "FIELD_INVALID"),
        ("values", np.full(384, np.inf, "<f4").tobytes(), INVALID, "FIELD_INVALID"),
        ("encoder_digest", "ab" * 32, PRECONDITION, "ENCODER_MISMATCH"),
    ]
    for field, value, code, reason in changes:
        bad = embedding_pb2.Embedding()
        bad.CopyFrom(vector)
        setattr(bad, field, value)
        await refused(suite.router.Route(route(embedding=bad), timeout=5), code, reason, f"embedding.{field}")


async def test_expired_deadline(suite: Suite) -> None:
    """A deadline in the past is DEADLINE_EXCEEDED."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await suite.router.Route(route(), timeout=-1)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
