"""A worse router is refused by the gate, with figures, and one that is as good or cheaper is not."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from services.router.catalogue import Catalogue
from services.router.decided import Decided, decide
from services.router.eligibility import Eligibility
from services.router.fit import Outcomes
from services.router.gate import Verdict, compare, refusal
from services.router.policy import Policy
from services.router.predictor import Predictor
from services.router.query import Objective
from services.router.risk import REPEATS
from services.router.speed import Speed
from tests.unit.router.parts import DIGEST, DIMENSION, artefact, model, policy, told

_PROMPTS = 400


def deciding(*losses: float, calibrated_harm: float = 0.0) -> Policy:
    """Expects the same losses of every prompt, with a calibration that knows harms beyond a loss of this much."""
    made = artefact(losses=losses)
    made.calibration_harms[:] = made.calibration_losses < calibrated_harm
    return policy(predictor=Predictor(made))


def worded(small_wrong: float, seed: int, questions: int = 100, wordings: int = 10) -> Outcomes:
    """Questions in several wordings each: the small model is wrong on all of one, or on none."""
    asked = outcomes(small_wrong, questions, seed)
    rows = np.repeat(np.arange(questions), wordings).tolist()
    texts = [f"{asked.prompts[row]}, wording {place}" for place, row in enumerate(rows)]
    scores = {model: one[rows] for model, one in asked.scores.items()}
    groups = [asked.prompts[row] for row in rows]
    return Outcomes(texts, asked.embeddings[rows], scores, groups, [""] * len(rows))


def outcomes(small_wrong: float, prompts: int = _PROMPTS, seed: int = 0) -> Outcomes:
    """The small model is wrong as often, the others never."""
    right = np.ones(prompts)
    small = (np.random.default_rng(seed).uniform(size=prompts) >= small_wrong).astype(float)
    vectors = np.tile(np.eye(1, DIMENSION, dtype=np.float32), (prompts, 1))
    texts = [f"prompt {number}" for number in range(prompts)]
    scores = {"small": small, "middle": right, "large": right}
    return Outcomes(texts, vectors, scores, texts, [""] * prompts)


def verdict(new: Policy, serving: Policy | None, known: Outcomes, bound: float = 0.05) -> Verdict:
    (found,) = compare(new, serving, known, DIGEST, Objective(bound))
    return found


def gave(harmed: Any, cost: Any, grouped: bool = False) -> Decided:
    """Decisions on prompts of which the strong model's answers cost 12 each."""
    return Decided(np.asarray(harmed, float), np.asarray(cost, float), np.full(len(cost), 12.0), grouped)


CHEAP: Any = (0.0, 0.001, 0.0)  # sends all to small
CAREFUL: Any = (0.9, 0.001, 0.0)  # sends all to middle
STRONG: Any = (0.9, 0.9, 0.0)  # sends all to large


def test_one_that_breaks_the_bound_is_refused_whatever_it_saves() -> None:
    """A tenth of all prompts harmed is more than the twentieth that is allowed."""
    found = verdict(deciding(*CHEAP), deciding(*STRONG), outcomes(0.10))
    assert found.refused.startswith("it harms ")
    assert "of 400 prompts, more than a bound of 0.05 allows" in found.refused
    assert found.serving is not None
    assert found.new.cost.mean() < found.serving.cost.mean()


def test_a_dearer_one_is_refused() -> None:
    """Within the bound what counts is the cost; a router that asks the strong model for all is no better one."""
    found = verdict(deciding(*STRONG), deciding(*CAREFUL), outcomes(0.5))
    assert found.refused.startswith("it costs ")
    assert not verdict(deciding(*CAREFUL), deciding(*STRONG), outcomes(0.5)).refused


def test_a_dearer_one_may_replace_one_that_breaks_the_bound() -> None:
    """Harm comes first."""
    assert not verdict(deciding(*CAREFUL), deciding(*CHEAP), outcomes(0.2)).refused


@pytest.mark.parametrize(("saved", "refused"), [(0.0, True), (1.0, False)])
def test_more_harm_is_refused_where_it_saves_nothing(saved: float, refused: bool) -> None:
    """Both keep the bound; twelve harms against two are no chance, and are worth what they save."""
    harmed, before = np.arange(_PROMPTS) < 12, np.arange(_PROMPTS) >= _PROMPTS - 2
    cost = np.random.default_rng(0).uniform(5, 10, _PROMPTS)
    found = refusal(gave(harmed.astype(float), cost - saved), gave(before.astype(float), cost), 0.05)
    assert found == ("it harms more on 12 prompts, what serves on 2, and it costs no less" if refused else "")


@pytest.mark.parametrize(("before", "after", "refused"), [(24, 12, False), (24, 21, True), (19, 5, True)])
def test_a_safer_router_may_cost_more_where_what_serves_harms_too_much(before: int, after: int, refused: bool) -> None:
    """Of 400 prompts the bound allows 20: 24 may be chance, but half as many are worth what they cost."""
    harmed = [(np.arange(_PROMPTS) < harms).astype(float) for harms in (after, before)]
    cost = np.random.default_rng(0).uniform(5, 10, _PROMPTS)
    serving = gave(harmed[1], cost)
    assert not serving.breaks(0.05)
    assert bool(refusal(gave(harmed[0], cost + 1), serving, 0.05)) is refused


@pytest.mark.parametrize(("saved", "refused"), [(0.0, True), (0.2, True), (0.5, False), (0.9, False)])
def test_a_safer_router_has_to_save_something(saved: float, refused: bool) -> None:
    """Of 400 prompts the bound allows 20, and 24 may be chance: who saves next to nothing instead is no better."""
    rng, before = np.random.default_rng(0), np.arange(_PROMPTS) < 24
    weak = before | (rng.uniform(size=_PROMPTS) < 0.5)
    serving = gave(before, np.where(weak, 1, 12))
    cautious = gave(before & (np.arange(_PROMPTS) < 9), np.where(weak & (rng.uniform(size=_PROMPTS) < saved), 1, 12))
    assert not serving.breaks(0.05)
    assert refusal(cautious, serving, 0.05).startswith("it costs ") is refused
    broken = gave(np.arange(_PROMPTS) < 40, np.where(weak, 1, 12))
    assert not refusal(cautious, broken, 0.05)  # harm comes first


def by_quality(small: float, middle: float) -> Policy:
    """Expects these scores, and no harm of anyone, with all prompts under any bound."""
    return policy(predictor=Predictor(artefact(losses=(0.9, 0.9, 0.0), quality=(small, middle, 0.8))))


def test_the_best_answer_is_not_to_get_worse() -> None:
    """For callers who ask for the best of the weaker models the order of predicted quality counts, not cost."""
    good, bad = by_quality(0.3, 0.7), by_quality(0.7, 0.3)
    known = outcomes(0.3)
    *_, found = compare(bad, good, known, DIGEST, Objective(0.05))
    assert found.also
    asked = "for callers who ask for the best answer of weaker models, as within a budget, it misses 0."
    assert found.refused.startswith(asked)
    assert not any(one.refused for one in compare(good, bad, known, DIGEST, Objective(0.05)))


def test_the_fastest_answer_is_not_to_get_slower() -> None:
    """At equal cost and harm, one that leaves the faster model is refused for those who are in a hurry."""

    def hurried(losses: Any) -> Policy:
        strong = model("large", 1, is_default=True, context_tokens=4000, speed=Speed(1.0, 50.0))
        quick = model("small", 1, context_tokens=4000, speed=Speed(0.1, 500.0))
        slow = model("middle", 1, context_tokens=4000, speed=Speed(0.5, 100.0))
        return Policy(Eligibility(Catalogue([strong, quick, slow]), 100), Predictor(artefact(losses=losses)))

    quick, slow = hurried((0.001, 0.9, 0.0)), hurried((0.9, 0.001, 0.0))
    *_, found = compare(slow, quick, outcomes(0.0), DIGEST, Objective(0.05))
    assert found.refused.startswith("for callers who ask for the fastest answer, it takes ")
    assert not any(one.refused for one in compare(quick, slow, outcomes(0.0), DIGEST, Objective(0.05)))


def test_chance_is_not_taken_for_harm() -> None:
    """Three harms against two say nothing, nor does the same router beside itself."""
    cost = np.ones(_PROMPTS)
    three, two = (one.astype(float) for one in (np.arange(_PROMPTS) < 3, np.arange(_PROMPTS) >= _PROMPTS - 2))
    assert not refusal(gave(three, cost), gave(two, cost), 0.05)
    assert not verdict(deciding(*CAREFUL), deciding(*CAREFUL), outcomes(0.5)).refused


def test_wordings_of_a_question_count_once() -> None:
    """Harm of exactly the bound is refused in no more than one file of twenty, thrice the bound in most."""
    cheap, rng = deciding(*CHEAP), np.random.default_rng(0)
    counted = [_refused((rng.uniform(size=(400, 100)) < harm).astype(float)) for harm in (0.02, 0.06)]
    assert counted[0] <= 0.05
    assert counted[1] >= 0.5
    found = verdict(cheap, None, worded(0.3, seed=0))
    assert found.new.harmed.shape == (100,)
    assert "of 100 groups of prompts, more than a bound of 0.05 allows" in found.refused
    with pytest.raises(ValueError, match="outcomes: got 99 groups of prompts, expected at least 100"):
        verdict(cheap, None, worded(0.0, seed=0, questions=99))


def test_means_of_groups_are_held_to_more_than_the_tail() -> None:
    """Whatever happens within groups, e times the binomial tail bounds it, so that nine of 200 still may be chance."""
    harmed = (np.arange(200) < 9).astype(float)
    assert gave(harmed, np.zeros(200)).breaks(0.02)
    assert not gave(harmed, np.zeros(200), grouped=True).breaks(0.02)
    assert gave((np.arange(200) < 10).astype(float), np.zeros(200), grouped=True).breaks(0.02)


def _refused(files: Any) -> float:
    """Share of files on which a router is refused that harms so much of each question, [files, questions]."""
    return float(np.mean([bool(refusal(gave(one, np.zeros(len(one)), True), None, 0.02)) for one in files]))


def test_the_first_has_only_the_bound_to_keep() -> None:
    """Where nothing serves yet, nothing is compared."""
    assert not verdict(deciding(*STRONG), None, outcomes(0.5)).refused
    assert verdict(deciding(*CHEAP), None, outcomes(0.5)).refused


def test_too_few_outcomes_are_refused() -> None:
    """A comparison on a handful says nothing."""
    with pytest.raises(ValueError, match="outcomes: got 99 prompts, expected at least 100"):
        verdict(deciding(*CHEAP), None, outcomes(0.0, prompts=99))


@pytest.mark.parametrize("serving", [None, CHEAP])
def test_a_bound_that_compares_nothing_is_not_the_one_held(serving: Any) -> None:
    """Where both ask the strong model for everything, the least bound that callers may ask for and that differs is."""
    before = deciding(*serving) if serving else None
    found = verdict(deciding(*CHEAP), before, outcomes(0.10, 150), bound=0.0)
    assert found.objective.max_quality_loss == 0.01
    assert "more than a bound of 0.01 allows" in found.refused
    careful = verdict(deciding(*CAREFUL), before, outcomes(0.0, 150), bound=0.0)
    assert careful.objective.max_quality_loss == 0.01
    assert careful.refused.startswith("it costs ") is bool(serving)
    nothing = verdict(deciding(*STRONG), None, outcomes(0.0, 150), bound=0.0)
    assert not nothing.any("weak")
    assert not nothing.refused


def certain(prompts: int, seed: int, tells: bool) -> tuple[Any, Any, Any]:
    """Losses and harms [n, 2], and how sure the middle model was of its answers [n], which tells harms or does not."""
    rng = np.random.default_rng(seed)
    loss, beside = rng.beta(3, 7, prompts), np.zeros(prompts)
    harm = rng.uniform(size=prompts) < loss
    sure = np.minimum(0, np.where(harm & tells, -1.5, -0.2) + rng.normal(0, 0.15, prompts))
    return np.stack([loss, beside], axis=1), np.stack([harm, beside], axis=1), sure


def asking_first(live: Any, tells: bool, agreement: bool = False) -> Policy:
    losses, harms, sure = certain(1500, 1, tells)
    certainty = np.stack([sure, np.full(1500, np.nan)], axis=1).astype(np.float32)
    strong = model("large", 10, is_default=True, context_tokens=4000)
    models = Catalogue([model("middle", 0.1, context_tokens=4000), strong])
    if agreement:
        known = {"calibration_agreements": (certainty > -0.8).astype(np.float32)}
    else:
        known = {"calibration_mean_logprobs": certainty}
    return Policy(Eligibility(models, 100), told(losses, harms, live, **known))


@pytest.mark.parametrize("known", [0.2, 1.0])
def test_bounds_that_other_callers_may_ask_for_are_kept_as_well(known: float) -> None:
    """A calibration that knows of no harm beyond a loss keeps the operator's bound, and breaks a laxer one."""
    rng = np.random.default_rng(0)
    loss, live, beside = rng.uniform(0, 1, 2000), rng.uniform(0, 1, 500), np.zeros((2, 2000))
    harm = (rng.uniform(size=2000) < loss) & (loss < known)
    made = told(np.stack([loss, beside[0]], 1), np.stack([harm, beside[1]], 1), np.stack([live, live * 0], 1))
    strong = model("large", 10, is_default=True, context_tokens=4000)
    models = Eligibility(Catalogue([model("middle", 1, context_tokens=4000), strong]), 100)
    texts = [str(row) for row in range(500)]
    vectors = np.tile(np.eye(1, DIMENSION, dtype=np.float32), (500, 1))
    scores = {"middle": (rng.uniform(size=500) >= live).astype(float), "large": np.ones(500)}
    told_of = Outcomes(texts, vectors, scores, texts, [""] * 500)
    first, *others = compare(Policy(models, made), None, told_of, DIGEST, Objective(0.01))
    assert not first.refused
    assert [one.also for one in others] == ([True] if known < 1 else [])
    assert all("more than a bound of 0.05 allows by chance" in one.refused for one in others)


def test_answers_that_are_assessed_are_held_to_the_bound_as_well() -> None:
    """A cascade that takes harmful answers for sure ones is refused, though routing alone keeps the bound."""
    live, harms, sure = certain(600, 2, tells=False)
    texts = [str(row) for row in range(600)]
    vectors = np.tile(np.eye(1, DIMENSION, dtype=np.float32), (600, 1))
    scores = {"middle": 1.0 - harms[:, 0], "large": np.ones(600)}
    known = Outcomes(texts, vectors, scores, texts, [""] * 600, {"middle": sure})
    lying, blind = asking_first(live, tells=True), asking_first(live, tells=False)
    streamed, waited = compare(lying, blind, known, DIGEST, Objective(0.05))
    assert not streamed.refused
    assert waited.objective.whole_answer
    assert waited.new.first > 0.3
    assert waited.refused.startswith("of answers that are awaited whole, it harms ")
    assert len(compare(blind, None, known, DIGEST, Objective(0.05))) == 1  # it asks nobody first
    honest = replace(known, mean_logprobs={"middle": np.where(harms[:, 0] > 0, -1.5, -0.2)})
    saves = compare(lying, blind, honest, DIGEST, Objective(0.05))
    assert [one.refused for one in saves] == ["", ""]
    assert saves[1].new.cost.mean() < saves[0].new.cost.mean()  # with the cost of answers that are not served
    with pytest.raises(ValueError, match="outcomes: got no mean_logprobs or agreements of models that are asked first"):
        compare(lying, blind, replace(known, mean_logprobs={}), DIGEST, Objective(0.05))


def test_repeats_are_counted_in_what_asking_first_costs() -> None:
    """Where agreement decides, the gate reads it from the outcomes and counts four answers of the cheap model."""
    live, harms, sure = certain(600, 2, tells=True)
    texts = [str(row) for row in range(600)]
    vectors = np.tile(np.eye(1, DIMENSION, dtype=np.float32), (600, 1))
    scores = {"middle": 1.0 - harms[:, 0], "large": np.ones(600)}
    known = Outcomes(texts, vectors, scores, texts, [""] * 600, {"middle": sure}, {"middle": 1.0 * (sure > -0.8)})
    once, again = asking_first(live, tells=True), asking_first(live, tells=True, agreement=True)
    asked, repeated = (decide(one, known, DIGEST, Objective(0.05, whole_answer=True)) for one in (once, again))
    assert asked.first > 0.3
    assert repeated.first > 0.3
    assert repeated.cost.max() == pytest.approx(asked.cost.max() * (1 + 0.01 * (1 + REPEATS)) / 1.01)
    with pytest.raises(ValueError, match="got no mean_logprobs or agreements"):
        decide(again, replace(known, agreements={}), DIGEST, Objective(0.05, whole_answer=True))
