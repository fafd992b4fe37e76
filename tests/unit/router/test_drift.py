"""Alarms: rare while the bound is kept, soon where it is broken, and what they change."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fulcrum.router.v1 import router_service_pb2 as pb
from prometheus_client import CollectorRegistry, generate_latest
from structlog.testing import capture_logs

from services.router.drift import SHIFTED, Basis, HarmWatch, ShiftWatch
from services.router.plan import Plan, Reason
from services.router.policy import Policy
from services.router.predictor import Predictor
from services.router.router import load_router
from services.router.service import RouterServicer
from tests.unit.router.parts import artefact, familiar, policy, query
from tests.unit.router.test_service import embedding, settings

CONTEXT: Any = None
BOUND, SHARE = 0.02, 0.5


def run(harm: float, answers: int, seed: int) -> HarmWatch:
    """Judged weaker answers that harm with a chance, half of all decisions being weaker ones."""
    rng, watch = np.random.default_rng(seed), HarmWatch()
    for number in range(1000):
        watch.decided(number % 2 == 0, BOUND)
    for harmed in rng.uniform(size=answers) < harm:
        if not watch.suspended:
            watch.judge(bool(harmed))
    return watch


def test_an_alarm_is_rare_while_the_bound_is_kept() -> None:
    """At just what the bound allows, one of five runs of 1,000 judged answers may raise an alarm, and fewer do."""
    assert run(0.0, 1, 0).allowed == pytest.approx(BOUND / SHARE, rel=0.01)
    alarms = [run(BOUND / SHARE, 1000, seed).suspended for seed in range(60)]
    assert np.mean(alarms) <= 1000 / 5000
    assert not any(run(0.5 * BOUND / SHARE, 5000, seed).suspended for seed in range(5))


def test_an_alarm_comes_soon_where_the_bound_is_broken() -> None:
    """Three times as much harm as allowed is seen within some hundred judged answers, ten times within some dozen."""
    found = {times: [run(times * BOUND / SHARE, 2000, seed) for seed in range(20)] for times in (3, 10)}
    assert all(watch.suspended for watches in found.values() for watch in watches)
    assert np.median([watch.judged for watch in found[3]]) < 250
    assert np.median([watch.judged for watch in found[10]]) < 40


def test_a_shift_of_predictions_is_told_once() -> None:
    """Prompts like the calibrated ones give an index near nothing, others one beyond the mark and a line in the log."""
    rng = np.random.default_rng(0)
    calibrated = rng.beta(2, 8, 2000).astype(np.float32)
    calibrated[:40] = np.inf
    watch = ShiftWatch(calibrated)
    for loss in rng.permutation(calibrated)[:1000]:
        watch.seen(float(loss))
    assert 0 < watch.shift < 0.1
    with capture_logs() as logs:
        for loss in rng.beta(4, 6, 1500):
            watch.seen(float(loss))
    assert watch.shift > SHIFTED
    assert [line["event"][:14] for line in logs] == ["prompts differ"]
    unfamiliar = ShiftWatch(calibrated)
    for _ in range(500):
        unfamiliar.seen(np.inf)
    assert unfamiliar.shift > SHIFTED


def test_prompts_like_the_last_are_drawn_from_those_calibrated() -> None:
    """Where losses below a fifth are thrice as frequent, those kept have as many; without a shift all count."""
    rng = np.random.default_rng(1)
    calibrated = rng.uniform(0, 1, 5000).astype(np.float32)
    watch = ShiftWatch(calibrated)
    for loss in rng.uniform(0, 1, 500):
        watch.seen(float(loss))
    assert watch.alike is None
    low = rng.uniform(size=500) < 0.6
    for loss in np.where(low, rng.uniform(0, 0.2, 500), rng.uniform(0.2, 1, 500)):
        watch.seen(float(loss))
    assert watch.alike is not None
    assert abs((calibrated[watch.alike] < 0.2).mean() - 0.6) < 0.06
    assert len(watch.alike) > 1000


def test_a_shift_leans_on_the_default_where_the_bound_would_break() -> None:
    """Once prompts near the threshold alone come the bound is kept no more, and the default answers them."""
    rng = np.random.default_rng(0)
    made = artefact(losses=(0.09, 0.9, 0.0))
    losses = np.repeat([0.001, 0.08, 0.1], [700, 150, 150])
    made.calibration_losses[:] = np.stack([losses, np.full(1000, 0.9), np.zeros(1000)], 1)
    made.calibration_harms[:] = False
    made.calibration_harms[:, 0] = (losses == 0.08) & (rng.uniform(size=1000) < 0.3)
    eligibility = policy()._eligibility
    asked = query(loss=0.06, vector=familiar())
    heeding, told = (Policy(eligibility, Predictor(made), heeds_shift=heeds) for heeds in (True, False))
    before = heeding.plan(asked)
    assert before.models[0].model == "small"
    assert "shift" not in before.explanation
    for _ in range(500):
        heeding.plan(asked)
        told.plan(asked)
    after = heeding.plan(asked)
    assert (after.models[0].model, after.reason) == ("large", Reason.NO_CHEAPER_FITS)
    assert "of them that are like the last ones (shift " in after.explanation
    assert told.plan(asked).models[0].model == "small"  # a file of outcomes is decided alike


def test_a_broken_promise_is_suspended() -> None:
    """Once weaker answers were seen to harm too often, the default answers whatever may be lost, and says why."""
    made = policy(predictor=Predictor(artefact()))
    asked = query(loss=0.1, vector=familiar())
    plan: Plan = made.plan(asked)
    assert (plan.models[0].model, plan.promised) == ("small", True)
    made.scored(plan, "small", {"small": 0.0})  # nothing is known of the default's answer
    assert made.promise.judged == 0
    while not made.promise.suspended:
        made.scored(plan, "large", {"small": 0.0, "large": 1.0})
    assert made.promise.harmed == made.promise.judged > 3
    result = query("Ten degrees. " * 20, loss=0.1, vector=familiar(), current_model="small", answers_tool_call=True)
    assert made.plan(result).reason is Reason.NEEDS_CONVERSATION
    assert made.plan(replace(result, objective=query(loss=0.5).objective)).models[0].model == "small"
    after = made.plan(asked)
    assert (after.models[0].model, after.reason) == ("large", Reason.PROMISE_SUSPENDED)
    assert not after.promised
    assert set(plan.contested_losses) == {"small", "middle"}
    assert after.contested_losses == {}  # nobody's answer is compared, which says nothing of what it would have been


async def test_feedback_raises_the_alarm(tmp_path: Path) -> None:
    """Scores of both answers to a prompt are a judgement; state and metrics tell; loading anew begins anew."""
    servicer = RouterServicer()
    servicer.open(load_router(settings(tmp_path, max_quality_loss=0.1)))
    registry = CollectorRegistry()
    for collector in servicer.metrics.collectors:
        registry.register(collector)

    async def promise() -> pb.PromiseState:
        return (await servicer.ListModels(pb.ListModelsRequest(), CONTEXT)).promise

    request = pb.RouteRequest(text="hello", embedding=embedding())
    with capture_logs() as logs:
        while not (await promise()).suspended:
            response = await servicer.Route(request, CONTEXT)
            assert response.plan[0].model == "small"
            for model, score in (("small", 0.0), ("small", 1.0), ("large", 1.0)):  # of two scores the first counts
                scored = pb.FeedbackRequest(decision_id=response.decision_id, model=model, score=score, source="judge")
                await servicer.Feedback(scored, CONTEXT)
    state = await promise()
    assert state.judged_answers == state.harmed_answers > 0
    assert [line["log_level"] for line in logs if "suspended" in line["event"]] == ["error"]
    told = generate_latest(registry).decode()
    assert "fulcrum_router_promise_suspended 1.0" in told
    assert f"fulcrum_router_harmed_answers_total {state.harmed_answers}.0" in told
    response = await servicer.Route(request, CONTEXT)
    assert (response.plan[0].model, response.reason) == ("large", pb.ROUTE_REASON_PROMISE_SUSPENDED)
    servicer.open(load_router(settings(tmp_path, max_quality_loss=0.1)))
    assert not (await promise()).suspended


def test_one_prompt_is_judged_once() -> None:
    """However many models' answers are scored, a prompt's harm is one harm."""
    made = policy(predictor=Predictor(artefact()))
    plan, scores = made.plan(query(loss=0.1, vector=familiar())), {}
    for name, score in (("small", 0.0), ("large", 1.0), ("middle", 1.0)):
        scores[name] = score
        made.scored(plan, name, scores)
    assert (made.promise.judged, made.promise.harmed) == (1, 1)


def test_callers_of_other_bounds_keep_their_promise() -> None:
    """What suspends a strict caller's promise says nothing to one who allows more, nor the other way round."""
    made = policy(predictor=Predictor(artefact()))
    strict, lax = (made.plan(query(loss=loss, vector=familiar())) for loss in (0.02, 0.5))
    for _ in range(300):
        made.scored(lax, "large", {"small": 1.0, "large": 1.0})
    while not made.promise.suspended:
        made.scored(strict, "large", {"small": 0.0, "large": 1.0})
    assert made.plan(query(loss=0.02, vector=familiar())).reason is Reason.PROMISE_SUSPENDED
    assert made.plan(query(loss=0.5, vector=familiar())).reason is Reason.CHEAPEST_WITHIN_LOSS
    again = Policy(made._eligibility, Predictor(artefact()), made)
    assert again.plan(query(loss=0.02, vector=familiar())).reason is Reason.PROMISE_SUSPENDED  # the same file, touched
    assert not Policy(made._eligibility, Predictor(artefact(seed=1)), made).promise.suspended


@pytest.mark.parametrize(("failing", "harm"), [(1.0, 0.0), (0.3, 0.0), (0.9, 0.5), (0.9, 3.0), (0.5, 3.0)])
def test_a_judge_that_fails_is_no_harm_and_hides_none(failing: float, harm: float) -> None:
    """Comparisons without a verdict raise no alarm; harm is still seen in those with one, beside equal words."""
    rng, watch = np.random.default_rng(3), HarmWatch()
    for number in range(1000):
        watch.decided(number % 2 == 0, BOUND)
    answers = 20_000 if harm > 1 else 3_000
    for equal, harmed, fails in zip(*rng.uniform(size=(3, answers)), strict=True):
        if equal < 0.5:
            watch.judge(False, Basis.EQUAL_WORDS)
        elif fails < failing:
            watch.judge(True, Basis.NO_VERDICT)
        else:
            watch.judge(bool(harmed < 2 * harm * BOUND / SHARE), Basis.JUDGED)
        if watch.suspended:
            break
    assert watch.suspended is (harm > 1)


@pytest.mark.parametrize("source", ["shadow:unresolved", "client"])
async def test_scores_without_a_verdict_are_logged_and_raise_no_alarm(tmp_path: Path, source: str) -> None:
    """As many as there are of edge's comparisons that its judge did not decide, and of words of clients, who might
    name any model of the plan: the promise stands."""
    servicer = RouterServicer()
    servicer.open(load_router(settings(tmp_path, max_quality_loss=0.1)))
    for _ in range(50):
        response = await servicer.Route(pb.RouteRequest(text="hello", embedding=embedding()), CONTEXT)
        for model, score in (("small", 0.0), ("large", 1.0)):
            told = pb.FeedbackRequest(decision_id=response.decision_id, source=source)
            told.model, told.score = model, score
            await servicer.Feedback(told, CONTEXT)
    promise = (await servicer.ListModels(pb.ListModelsRequest(), CONTEXT)).promise
    assert (promise.suspended, promise.judged_answers, promise.harmed_answers) == (False, 0, 0)
