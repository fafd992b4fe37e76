"""Asking a cheap model first: the bound holds for both steps together, and nothing is asked that does not pay."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from structlog.testing import capture_logs

from services.chassis.errors import NotFound
from services.router.artefact import Artefact
from services.router.assessment import Signals
from services.router.cascade import Cascade
from services.router.cascading import Cascades
from services.router.catalogue import Catalogue
from services.router.decisions import Decisions
from services.router.eligibility import Eligibility
from services.router.outcome_log import Draw
from services.router.plan import Plan, Reason
from services.router.predictor import Predictor
from services.router.predictor_file import PredictorFile
from services.router.query import Goal, Objective
from services.router.risk import REPEATS, fit_risk
from services.router.router import Router
from services.router.speed import Speed
from tests.unit.router.parts import artefact, familiar, model, query

MODELS = ("small", "large")
Drawn = tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float64]]


def drawn(prompts: int, seed: int, telling: float = 2.0) -> Drawn:
    """Losses and harms [n, 2] and certainties [n]: each harm is foretold weakly before, and well after the answer."""
    rng = np.random.default_rng(seed)
    loss = rng.uniform(0.05, 0.6, prompts)
    harm = rng.uniform(size=prompts) < loss
    certainty = -rng.normal(3 + telling * harm, 0.8)
    losses = np.stack([loss, np.zeros(prompts)], axis=1).astype(np.float32)
    return losses, np.stack([harm, np.zeros(prompts, np.bool_)], axis=1), certainty


def cascade(prompts: int = 1500, seed: int = 0, ratio: float = 0.1, telling: float = 2.0) -> Cascade:
    losses, harms, certainty = drawn(prompts, seed, telling)
    return Cascade("small", MODELS, losses, harms, np.arange(prompts), certainty, ratio)


def test_risk_is_that_of_what_was_seen() -> None:
    """A fitted risk says of answers of any certainty how many of them harm."""
    losses, harms, certainty = drawn(4000, 0)
    risk = fit_risk(losses[:, 0].astype(np.float64), certainty, harms[:, 0])
    fresh, harmed, sure = drawn(4000, 1)
    found = risk.of(fresh[:, 0].astype(np.float64), sure)
    for low, high in ((0.0, 0.1), (0.1, 0.5), (0.5, 0.9), (0.9, 1.0)):
        some = (found >= low) & (found < high)
        assert harmed[some, 0].mean() == pytest.approx(found[some].mean(), abs=0.06)
    assert math.isnan(float(risk.of(0.1, math.nan)))


def test_the_pair_keeps_the_bound() -> None:
    """Over calibrations, the share of prompts harmed, sent unasked or kept after asking, is the bound at most."""
    shares = []
    for seed in range(60):
        fresh, harmed, sure = drawn(1000, 1000 + seed)
        loss, harms = fresh[:, 0].astype(np.float64), harmed[:, 0]
        pair = cascade(600, seed)
        threshold = pair.threshold(("small",), 0.05, None)
        asked = pair.begins(loss) < threshold
        kept = (loss < threshold) | (asked & (pair.risk.of(loss, sure) < threshold))
        assert kept.mean() > 0.3
        shares.append(float((kept & harms).mean()))
    assert np.mean(shares) <= 0.05 + np.std(shares) / np.sqrt(len(shares))


@pytest.mark.parametrize("confidence", [None, 0.9])
def test_prompts_that_share_their_fate_prove_less(confidence: float | None) -> None:
    """Ten wordings each of the same rows, harmed together, allow less than as many prompts drawn one by one."""
    rows = np.arange(1500)
    groups = 3 * (rows // 30) + rows % 3  # so that the same rows fit the risk, one group of three
    losses, harms, certainty = (one[groups] for one in drawn(150, 0))
    losses[:, 0] += np.random.default_rng(0).uniform(0, 0.001, 1500)
    alone, together = (Cascade("small", MODELS, losses, harms, of, certainty, 0.1) for of in (rows, groups))
    assert together.threshold(("small",), 0.1, confidence) < 0.95 * alone.threshold(("small",), 0.1, confidence)


def test_asking_pays_from_where_its_gain_is_its_cost() -> None:
    """Just above the threshold that `begins` tells, the mean of 1 - risk / threshold is more than the cheap share."""
    pair = cascade(ratio=0.3)
    for loss in (0.1, 0.4):
        begins = pair.begins(np.array([loss]))[0]
        risks = pair._risks_nearby(np.array([loss]))
        for factor, pays in ((1.01, True), (0.99, False)):
            assert bool(np.maximum(0, 1 - risks / (begins * factor)).mean() > 0.3) is pays
    some = np.array([0.1])
    assert pair.begins(some, 0.6) > pair.begins(some)
    assert pair.begins(some, 1.0) == math.inf


@pytest.mark.parametrize(
    ("ratio", "telling", "saves"), [(0.1, 2.0, True), (0.95, 2.0, False), (0.1, 0.0, False)], ids=str
)
def test_nothing_is_asked_first_that_is_not_seen_to_save(ratio: float, telling: float, saves: bool) -> None:
    """A model that costs nearly as much, or whose certainty tells nothing, saves nothing over routing alone."""
    pair = cascade(ratio=ratio, telling=telling)
    assert pair.saves(("small",), 0.05, None, True, {"small": ratio}) is saves


def test_prompts_of_unknown_certainty_calibrate_nothing() -> None:
    """Where one in three was measured the threshold is that of these alone: the others would look harmless."""
    losses, harms, certainty = drawn(3000, 0)
    some = np.arange(3000) % 3 == 0
    known = np.where(some, certainty, np.nan)
    all_told = Cascade("small", MODELS, losses, harms, np.arange(3000), known, 0.1)
    alone = Cascade("small", MODELS, losses[some], harms[some], np.arange(3000)[some], certainty[some], 0.1)
    assert all_told.threshold(("small",), 0.05, None) == alone.threshold(("small",), 0.05, None)


@pytest.mark.parametrize("gone", [0.0, 0.25, 0.5])
def test_what_is_missing_of_bad_answers_keeps_the_bound(gone: float) -> None:
    """So many of the harmful answers are cut off, in outcomes as in traffic: the prompts left look better than all.

    By these alone the harm is 0.058 and 0.072.
    """
    shares = []
    for seed in range(40):
        (losses, harms, certainty), (fresh, worse, sure) = (
            _cut_off(prompts, of, gone) for prompts, of in ((1500, seed), (5000, 1000 + seed))
        )
        pair = Cascade("small", MODELS, losses, harms, np.arange(1500), certainty, 0.01, REPEATS)
        threshold, loss = pair.threshold(("small",), 0.05, None), fresh[:, 0].astype(np.float64)
        asked = (pair.begins(loss) < threshold) & np.isfinite(sure)
        kept = (loss < threshold) | (asked & (pair.risk.of(loss, sure) < threshold))
        shares.append(float((kept & worse[:, 0]).mean()))
    assert np.mean(shares) <= 0.05 + 2 * np.std(shares) / np.sqrt(len(shares))
    assert np.mean(shares) > 0.04


def _cut_off(prompts: int, seed: int, gone: float) -> Drawn:
    rng = np.random.default_rng(seed)
    loss = rng.uniform(0.01, 0.6, prompts)
    harm = rng.uniform(size=prompts) < loss
    same = rng.binomial(REPEATS, np.where(harm, 0.2, 0.9)) / REPEATS
    certainty = np.where(harm & (rng.uniform(size=prompts) < gone), np.nan, same)
    none = np.zeros(prompts)
    return np.stack([loss, none], 1).astype(np.float32), np.stack([harm, none > 0], 1), certainty


def test_too_little_evidence_is_none() -> None:
    """Fewer than a hundred answers of known certainty, or ten harms among them, fit no risk."""
    losses, harms, certainty = drawn(1500, 0)
    with pytest.raises(ValueError, match="99 answers"):
        Cascade(
            "small", MODELS, losses, harms, np.arange(1500), np.where(np.arange(1500) < 297, certainty, np.nan), 0.1
        )
    with pytest.raises(ValueError, match="0 harms"):
        Cascade("small", MODELS, losses, np.zeros_like(harms), np.arange(1500), certainty, 0.1)
    assert Predictor(artefact()).cascades("small", 0.1) == []


def test_what_is_missing_for_a_signal_is_told(tmp_path: Path) -> None:
    """Each signal that is known of a model has its reason, or none; the service logs the reasons as it loads a file."""
    known = told(300, 0, 2.0, 1.0)
    assert known.calibration_agreements is not None
    few = np.where(np.arange(300)[:, None] < 96, known.calibration_agreements, np.float32(np.nan))
    known = replace(known, calibration_agreements=few)
    reason = "32 answers of known certainty (the third that fits a risk, of 96), expected at least 100"
    assert Predictor(known).lacking("small") == {"mean_logprobs": "", "agreements": reason}
    assert Predictor(known).lacking("large") == {}
    assert [one.repeats for one in Predictor(known).cascades("small", 0.1)] == [0]
    assert Predictor(known).cascades("unheard of", 0.1) == ()
    known.save(tmp_path / "router.safetensors")
    with capture_logs() as logs:
        PredictorFile(tmp_path / "router.safetensors", "large").read()
    assert [(line["log_level"], line["model"], line["signal"], line["lacking"]) for line in logs] == [
        ("warning", "small", "agreements", reason)
    ]


def signals(prompts: int, seed: int, likely: float, agrees: float) -> tuple[Any, Any, Any, Any]:
    """Losses and harms [n, 2], log-probabilities and agreements [n], which foretell harms so well, or not at all."""
    losses, harms, certainty = drawn(prompts, seed, likely)
    rng = np.random.default_rng(seed + 10_000)
    same = rng.binomial(REPEATS, np.where(harms[:, 0], 0.9 - 0.8 * agrees, 0.9)) / REPEATS
    return losses, harms, certainty, same


def told(prompts: int, seed: int, likely: float, agrees: float) -> Artefact:
    losses, harms, certainty, same = signals(prompts, seed, likely, agrees)
    unknown = np.full(prompts, np.nan)
    return replace(
        artefact(models=MODELS, default_model="large", losses=(0.3, 0.0), quality=(0.7, 0.9)),
        calibration_losses=losses,
        calibration_harms=harms,
        calibration_groups=np.arange(prompts, dtype=np.int32),
        calibration_mean_logprobs=np.stack([certainty, unknown], axis=1).astype(np.float32),
        calibration_agreements=np.stack([same, unknown], axis=1).astype(np.float32),
    )


def cascades(known: Artefact, price: float = 1) -> Cascades:
    models = [model("small", price, context_tokens=4000), model("large", 10, is_default=True, context_tokens=4000)]
    return Cascades(Predictor(known), models)


@pytest.mark.parametrize(
    ("likely", "agrees", "price", "repeats"),
    [
        (0.0, 1.0, 0.5, REPEATS),
        (2.0, 0.0, 0.5, 0),
        (2.0, 1.0, 0.5, 0),
        (0.0, 1.0, 4, None),
        (0.0, 0.0, 0.5, None),
    ],
    ids=["agreement tells", "probabilities tell", "both, and one costs more", "too dear to repeat", "nothing tells"],
)
def test_the_signal_that_saves_most_decides(likely: float, agrees: float, price: float, repeats: int | None) -> None:
    """Four answers cost four times as much; where neither signal saves nobody is asked first, and nothing repeated."""
    found = cascades(told(1500, 0, likely, agrees), price)._paired("small", ("small",), 0.05, None)
    assert (found.cascade.repeats if found else None) == repeats


def test_agreement_keeps_the_bound_and_saves() -> None:
    """Over calibrations in which it alone tells, harm is the bound at most, and both steps cost less than routing."""
    harmed, saved = [], []
    for seed in range(60):
        found = cascades(told(600, seed, 0.0, 1.0), 0.5)._paired("small", ("small",), 0.05, None)
        losses, harms, _, same = signals(1000, 1000 + seed, 0.0, 1.0)
        loss, harm = losses[:, 0].astype(np.float64), harms[:, 0]
        alone = Predictor(told(600, seed, 0.0, 1.0)).calibration.threshold(("small",), 0.05, None)
        if found is None:
            harmed.append(float(((loss < alone) & harm).mean()))
            continue
        pair, threshold = found.cascade, found.threshold
        asked = (loss >= threshold) & (pair.begins(loss) < threshold)
        kept = asked & (pair.risk.of(loss, same) < threshold)
        harmed.append(float((((loss < threshold) | kept) & harm).mean()))
        spent = np.where(loss < threshold, 0.05, 1.0 - kept + 0.05 * (1 + REPEATS) * asked)
        saved.append(float((np.where(loss < alone, 0.05, 1.0) - spent).mean()))
    assert np.mean(harmed) <= 0.05 + np.std(harmed) / np.sqrt(len(harmed))
    assert len(saved) > 50
    assert np.mean(saved) > 0.1


def test_choosing_a_signal_keeps_the_bound() -> None:
    """Of two that tell as much, the luckier is not chosen by the prompts that the promise is read from."""
    harmed = []
    for seed in range(100):
        losses, harms, first = drawn(300, seed, 1.2)
        fresh, worse, sure = drawn(1500, 500 + seed, 1.2)
        rng = np.random.default_rng(seed + 20_000)
        second, again = (-rng.normal(3 + 1.2 * one[:, 0], 0.8) for one in (harms, worse))
        pairs = [Cascade("small", MODELS, losses, harms, np.arange(300), one, 0.1) for one in (first, second)]
        best = max((0, 1), key=lambda one: pairs[one].expected_saving(("small",), 0.05, None))
        threshold, loss = pairs[best].threshold(("small",), 0.05, None), fresh[:, 0].astype(np.float64)
        asked = pairs[best].begins(loss) < threshold
        kept = (loss < threshold) | (asked & (pairs[best].risk.of(loss, (sure, again)[best]) < threshold))
        harmed.append(float((kept & worse[:, 0]).mean()))
    assert np.mean(harmed) <= 0.05 + np.std(harmed) / np.sqrt(len(harmed))


def router(loss: float = 0.3, agreement: bool = False) -> Router:
    """Of a small and a large model that costs ten times as much; every prompt is predicted the same loss.

    Log-probabilities tell whether an answer harms, or agreement alone.
    """
    if agreement:
        return _routing(told(1500, 0, 0.0, 1.0), 0.5)
    losses, harms, certainty = drawn(1500, 0)
    known = artefact(models=MODELS, default_model="large", losses=(loss, 0.0), quality=(0.7, 0.9))
    known = replace(
        known,
        calibration_losses=losses,
        calibration_harms=harms,
        calibration_groups=np.arange(1500, dtype=np.int32),
        calibration_mean_logprobs=np.stack([certainty, np.full(1500, np.nan)], axis=1).astype(np.float32),
    )
    return _routing(known, 1)


def _routing(known: Artefact, price: float) -> Router:
    able: dict[str, Any] = {"context_tokens": 4000, "supports_tools": True}
    models = Catalogue([model("small", price, **able), model("large", 10, is_default=True, **able)])
    made = Router(Eligibility(models, 100), None, Decisions(100), Objective(0.05))
    made._policy = made._policy.__class__(Eligibility(models, 100), Predictor(known))
    return made


def planned(made: Router, **fields: Any) -> tuple[str, Plan]:
    return made.route(query(**{"loss": 0.05, "vector": familiar(), "whole_answer": True, **fields}))


def test_the_cheap_model_is_asked_first_where_the_caller_waits() -> None:
    """Its answer is to be checked, and nothing is promised of it yet; the plan says how many are kept."""
    _, plan = planned(router())
    assert [one.model for one in plan.models] == ["small", "large"]
    assert (plan.reason, plan.promised) == (Reason.CHEAPER_FIRST, False)
    assert plan.check is not None
    assert 0.4 < plan.check.expected_kept < 0.9
    assert "good enough" in plan.explanation


@pytest.mark.parametrize(
    "fields",
    [
        {"whole_answer": False},
        {"goal": Goal.BEST},
        {"needs_tools": True},
        {"max_cost_nano_usd": 1_150_000},  # the large answer alone is 1,080,000
        {"max_latency_s": 10.0},  # how long either takes is not known
        {"loss": 0.0},
        {"candidates": ("large",)},
    ],
    ids=str,
)
def test_it_is_asked_first_nowhere_else(fields: dict[str, Any]) -> None:
    """Not before a stream, for the best answer, with tools, beyond what may be spent or waited, or without a bound."""
    _, plan = planned(router(), **fields)
    assert plan.check is None
    assert plan.reason is not Reason.CHEAPER_FIRST


def test_what_was_worked_out_for_one_caller_serves_others() -> None:
    """Bounds and confidences that count as the same are looked up, however many callers spell them."""
    policy = router()._policy
    small, large = policy._eligibility.candidates(query()).names
    found = []
    for beyond in range(300):
        asked = query(loss=0.05 + beyond * 1e-8, confidence=0.9 - beyond * 1e-8, whole_answer=True)
        assert policy._choosing._cascades
        found.append(policy._choosing._cascades.paired(asked, [small], large, ("small",), True))
    assert len({id(one) for one in found}) <= 2  # 1 - 0.9 is a little less than a tenth


def test_nothing_that_all_share_is_worked_out_for_the_first_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """A router that was warmed has its cascade before anybody asks, under another bound than its own as well."""
    made = router()
    made._policy = made._policy.warmed(made.objective)
    monkeypatch.setattr(Predictor, "cascades", None)
    for bound in (0.05, 0.08):
        assert planned(made, loss=bound)[1].reason is Reason.CHEAPER_FIRST


@pytest.mark.parametrize(
    ("within_s", "agreement", "asked"), [(2.9, False, False), (3.1, False, True), (3.9, True, False), (4.1, True, True)]
)
def test_both_answers_have_to_come_in_time(within_s: float, agreement: bool, asked: bool) -> None:
    """One after the other they take a second and two, and repeats side by side another: no more than may be waited."""
    _, plan = planned(
        router(agreement=agreement), speeds={"small": Speed(1.0, 1e6), "large": Speed(2.0, 1e6)}, max_latency_s=within_s
    )
    assert (plan.check is not None) is asked


@pytest.mark.parametrize("in_order", [True, False])
def test_nothing_is_asked_first_where_rivals_have_no_one_order(in_order: bool) -> None:
    """Each that came first on some prompts would have a threshold of its own, and the promise is of one."""
    policy = router()._policy
    asked = query(loss=0.05, vector=familiar(), whole_answer=True)
    small, large = policy._eligibility.candidates(asked).names
    assert policy._choosing._cascades
    found = policy._choosing._cascades.paired(asked, [small], large, ("small",), in_order)
    assert (found is not None) is in_order


def test_a_prompt_of_little_loss_is_sent_unasked() -> None:
    """Below the threshold the cheap model answers at once, as without a cascade."""
    _, plan = planned(router(loss=0.01))
    assert (plan.reason, plan.check, plan.promised) == (Reason.CHEAPEST_WITHIN_LOSS, None, True)


@pytest.mark.parametrize(
    ("certainty", "complete", "kept", "words"),
    [
        (-2.0, True, True, "is worse than large's with"),
        (-6.0, True, False, "is worse than large's with"),
        (None, True, False, "is not known"),
        (-2.0, False, False, "was cut off"),
    ],
)
def test_an_answer_is_kept_by_how_sure_it_was(certainty: float | None, complete: bool, kept: bool, words: str) -> None:
    """A sure answer is accepted and promised from then on; an unsure, cut or unknown one is escalated."""
    made = router()
    decision, _ = planned(made)
    for _ in range(2):  # asked again, it counts once
        found = made.assess(decision, Signals("small", complete, 5, certainty))
        assert found.escalate_to == ("" if kept else "large")
        assert words in found.explanation
    assert made._decisions.recall(decision).promised is kept
    watch = made._policy._harms.of(0.05)
    assert (watch._decisions, watch._share) == (1, float(kept))


@pytest.mark.parametrize(
    ("agreement", "kept", "words"),
    [(1.0, True, "3 of 3 repeats agree"), (0.0, False, "0 of 3 repeats agree"), (None, False, "is not known")],
)
def test_an_answer_is_kept_by_how_many_repeats_agree(agreement: float | None, kept: bool, words: str) -> None:
    """Where the plan asks for repeats they decide, however likely the tokens were; both explanations say so."""
    made = router(agreement=True)
    decision, plan = planned(made)
    assert plan.check is not None
    assert (plan.reason, plan.check.repeats) == (Reason.CHEAPER_FIRST, REPEATS)
    assert "known then by how many of 3 repeats agree" in plan.explanation
    found = made.assess(decision, Signals("small", True, 5, -0.001 if not kept else -9.0, agreement))
    assert found.escalate_to == ("" if kept else "large")
    assert words in found.explanation


@pytest.mark.parametrize(("most", "asked"), [(1_290_000, False), (1_300_000, True)])
def test_repeats_are_within_what_may_be_spent(most: int, asked: bool) -> None:
    """The large answer is 1,080,000 nano-dollars, each of four small ones 54,000."""
    _, plan = planned(router(agreement=True), max_cost_nano_usd=most)
    assert (plan.check is not None) is asked


@pytest.mark.parametrize("kept", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("assessed", [True, False], ids=["escalated", "never assessed"])
def test_every_decision_counts_in_what_the_bound_allows(assessed: bool, kept: float) -> None:
    """One in five goes to the small model unasked, of the others some are kept: the rest is the strong model's.

    So it is where nobody assesses it either, as the first answer was late, failed or was not asked for: else the bound
    would allow less than it does, and the alarm suspend a promise that is kept.
    """
    first, direct = router(), router(loss=0.01)
    first._policy._harms = direct._policy._harms
    for number in range(1000):
        decision, plan = planned(direct if number % 5 == 0 else first)
        certain = (number // 5) % 10 < 10 * kept
        if plan.check and (certain or assessed):
            first.assess(decision, Signals("small", True, 5, -2.0 if certain else -9.0))
    watch = direct._policy._harms.of(0.05)
    assert watch._share == pytest.approx(0.2 + 0.8 * kept)
    assert watch.allowed == pytest.approx(0.05 / (0.2 + 0.8 * kept))


async def test_a_score_of_an_escalated_answer_is_no_harm() -> None:
    """What nobody was served harms nobody; what was kept and found worse does."""
    made = router()
    for certainty, harmed in ((-6.0, 0), (-2.0, 1)):
        decision, _ = planned(made)
        made.assess(decision, Signals("small", True, 5, certainty))
        await made.feedback(decision, "small", 0.0, "judge", Draw())
        await made.feedback(decision, "large", 1.0, "judge", Draw())
        assert made.promise.harmed == harmed
    with pytest.raises(NotFound):
        made.assess("never", Signals("small", True, 5, -2.0))
