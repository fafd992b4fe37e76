"""What explored decisions tell of models on all traffic, whomever the router chose, and how a calibration uses them."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from services.router.artefact import Artefact
from services.router.logged_decisions import Decision, decisions
from services.router.off_policy import estimated_harm, fair_sample
from services.router.predictor import Predictor
from services.router.recalibration import recalibrated
from services.router.scored import InvalidOutcomes
from tests.unit.router.parts import MODELS, artefact
from tests.unit.router.test_recalibration import VERSION, line

SENT = 0.1  # predicted losses below it go to the small model


def log(count: int, share: float, explore: float, harm: float, seed: int) -> Iterator[dict[str, Any]]:
    """What edge tells of so many requests, where the small and middle models harm `harm` times what was predicted."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        losses = {"small": float(rng.uniform(0, 0.5)), "middle": float(rng.uniform(0, 0.5)), "large": 0.0}
        right = {model: float(rng.uniform() >= harm * loss) for model, loss in losses.items()}
        chosen = "small" if losses["small"] < SENT else "large"
        if rng.uniform() >= share:
            continue
        explored = bool(rng.uniform() < explore)
        known = {"sampled": share * (explore if explored else 1 - explore), "explored": explored}
        for model in losses if explored else {chosen, "large"}:
            yield line(f"{seed}-{number}", model, losses[model], right[model], **known)


def of(lines: Iterator[dict[str, Any]]) -> list[Decision]:
    return list(decisions(lines, VERSION))


def test_the_harm_of_a_model_that_was_not_chosen() -> None:
    """The estimate is of all requests; answers that were served are of easy ones alone, and would promise too much."""
    known = of(log(20_000, 0.5, 0.3, 1.0, seed=1))
    for model in ("small", "middle"):
        found = estimated_harm(known, model, "large")
        assert found
        assert found.low < 0.25 < found.high < found.low + 0.04
    served = [one.harmed("small", "large") for one in known if not one.explored and "small" in one.scores]
    assert np.mean(served) < 0.1


def test_a_clients_word_tells_nothing() -> None:
    """Not beside others' scores of the same decision, and not by itself."""
    fair = list(log(200, 1.0, 0.5, 1.0, seed=1))
    complaints = [{**one, "source": "client", "score": 0.0, "sampled": None, "explored": False} for one in fair]
    assert of(iter([*complaints, *fair])) == of(iter(fair))
    assert of(iter(complaints)) == []


def test_repeats_of_a_prompt_are_one_draw() -> None:
    """Of 100 logs whose popular prompts come nine times about one of twenty intervals is beside the truth."""
    beyond = 0
    for seed in range(100):
        once = of(log(400, 1.0, 0.5, 1.0, seed))
        popular = [one for place, one in enumerate(once) for _ in range(1 if place % 2 else 9)]
        found = estimated_harm(popular, "small", "large")
        assert found
        beyond += not found.low <= 0.25 <= found.high
    assert 0 < beyond <= 12


def explored(harm: float, count: int, probability: float, rng: np.random.Generator) -> list[Decision]:
    """So many explored decisions, of prompts of their own."""
    harmed = rng.uniform(size=count) < harm
    names = rng.integers(1 << 60, size=count)
    return [
        Decision(str(name), False, scores={"small": float(not one), "large": 1.0}, explored=probability)
        for name, one in zip(names, harmed, strict=True)
    ]


@pytest.mark.parametrize("harm", [0.005, 0.02, 0.05, 0.19])
@pytest.mark.parametrize("uneven", [0.4, 1.0, 1.6])
def test_the_interval_holds_the_truth_however_rare_harm_is(harm: float, uneven: float) -> None:
    """Of 400 logs of 100 explored decisions at least 93 % do, also where four of five were drawn four times as often
    and harm more than the others, or less; none says that nothing can be harmed.
    """
    rng, holds = np.random.default_rng(0), 0
    for _ in range(400):
        often = int(rng.binomial(100, 0.8))
        known = explored(uneven * harm, often, 0.08, rng) + explored((2 - uneven) * harm, 100 - often, 0.02, rng)
        found = estimated_harm(known, "small", "large")
        assert found
        assert found.high > 0.02
        holds += found.low <= harm <= found.high
    assert holds >= 0.93 * 400


def test_shares_may_change() -> None:
    """Half of the requests were explored ten times as often as the rest, which harm half as much: both count alike."""
    known = of(log(20_000, 1.0, 0.5, 1.6, seed=1)) + of(log(20_000, 0.5, 0.1, 0.8, seed=2))
    found = estimated_harm(known, "small", "large")
    assert found
    assert found.low < 0.3 < found.high < found.low + 0.06
    plain = [one.harmed("small", "large") for one in known if one.explored]
    assert np.mean(plain) > found.high + 0.02
    alike = fair_sample(known, MODELS)
    assert np.mean([one.harmed("small", "large") for one in alike]) == pytest.approx(0.3, abs=0.04)
    assert fair_sample(known, MODELS) == alike


def test_a_calibration_from_explored_decisions_may_send_more() -> None:
    """Weaker models that harm less than was feared get more prompts, as the bound allows; served answers never tell."""
    before, bound = artefact(prompts=2000), 0.05
    after = recalibrated(before, list(log(4000, 1.0, 0.5, 0.5, seed=3)))
    old, new = (Predictor(one).calibration.threshold(("small",), bound, None) for one in (before, after))
    assert new > 1.2 * old > SENT
    assert new**2 / 2 == pytest.approx(bound, rel=0.25)  # half of each loss, of losses up to the threshold, times two
    assert new**2 / 2 < bound * 1.15


def test_nothing_explored_tells_nothing() -> None:
    """Draws of served answers give no estimate, and a single prompt, however often it comes, next to none."""
    known = of(log(500, 1.0, 0.0, 1.0, seed=4))
    assert estimated_harm(known, "small", "large") is None
    assert fair_sample(known, MODELS) == []  # of a log that does not tell of those that went to the default
    one = next(one for one in of(log(500, 1.0, 1.0, 1.0, seed=4)) if "small" in one.scores)
    found = estimated_harm([one, one], "small", "large")
    assert found
    assert (found.low, found.high) == pytest.approx((0.0, 0.975))


PAIR = artefact(models=("small", "large"))
BOUNDS = (0.01, 0.2)  # of strict callers, and of the few lax ones


def compared(requests: int, thresholds: dict[float, float], harm: float, seed: int) -> Iterator[dict[str, Any]]:
    """What edge tells of comparisons alone, of callers of two bounds whose prompts are alike."""
    rng = np.random.default_rng(seed)
    for number in range(requests):
        bound, loss = BOUNDS[rng.uniform() < 0.05], float(rng.beta(1.5, 6))
        known: dict[str, Any] = {"sampled": 0.02, "bound": bound, "contested": {"small": loss}, "version": PAIR.version}
        decision = f"{seed}-{number}"
        if loss < thresholds[bound]:
            yield line(decision, "small", loss, float(rng.uniform() >= harm * loss), **known)
        yield line(decision, "large", 0.0, 1.0, **known)


def pair(losses: Any, harms: Any) -> Artefact:
    """Of a small and a large model, calibrated on these of the small one."""
    beside = np.zeros(len(losses))
    calibrated = np.stack([losses, beside], axis=1), np.stack([harms, beside], axis=1).astype(np.bool_)
    rows = calibrated[0].astype(np.float32), calibrated[1], np.arange(len(losses), dtype=np.int32)
    return replace(PAIR, calibration_losses=rows[0], calibration_harms=rows[1], calibration_groups=rows[2])


def threshold(made: Artefact, bound: float, confidence: float | None = None) -> float:
    return Predictor(made).calibration.threshold(("small",), bound, confidence)


@pytest.mark.parametrize("harm", [1.0, 1.6])
def test_callers_of_two_bounds_are_promised_no_more_than_is_known(harm: float) -> None:
    """Comparisons of mostly strict callers make nothing laxer than it may be for lax ones, whether harm grew or not."""
    harmed: dict[tuple[float, float | None], list[float]] = {}
    for seed in range(6):
        rng = np.random.default_rng(100 + seed)
        losses, fresh = rng.beta(1.5, 6, 2000), rng.beta(1.5, 6, 40_000)
        first = pair(losses, rng.uniform(size=2000) < losses)
        lines = list(compared(2500, {bound: threshold(first, bound) for bound in BOUNDS}, harm, seed))
        after = recalibrated(first, lines)
        for bound in (*BOUNDS, 0.1):
            for confidence in (None, 0.9):
                sent = fresh < threshold(after, bound, confidence)
                harmed.setdefault((bound, confidence), []).append(float((np.minimum(1, harm * fresh) * sent).mean()))
    for (bound, _), found in harmed.items():
        assert np.mean(found) <= bound + np.std(found) / np.sqrt(len(found))
    assert np.mean(harmed[0.01, None]) > 0.007  # where everybody's prompts were compared, they count as they are


def test_comparisons_alone_of_several_bounds_are_refused() -> None:
    """Whoever scores by himself what weaker models answered, under bounds that differ, is told what would do."""
    lines = [
        line(f"{number}", model, loss, 1.0, bound=(0.01, 0.2)[number % 2], version=PAIR.version)
        for number in range(200)
        for model, loss in (("small", 0.1), ("large", 0.0))
    ]
    made = pair(np.linspace(0, 1, 500), np.zeros(500))
    with pytest.raises(InvalidOutcomes, match=r"compared decisions alone, under bounds from 0\.01 to 0\.2, expected"):
        recalibrated(made, lines)
    explored = [one | {"explored": True, "sampled": 0.5} for one in lines]
    assert recalibrated(made, explored).facts.metrics["recalibrated_decisions"] == 200


@pytest.mark.parametrize("unfamiliar", [0.0, 0.2])
def test_callers_who_exclude_a_model_do_not_dilute_its_harm(unfamiliar: float) -> None:
    """Nine of ten deny the small model; those who allow it get no more harm from scores that somebody else brought."""
    shares = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        losses, after = rng.beta(1.5, 6, 40_000), recalibrated(artefact(), list(denied(4000, unfamiliar, seed)))
        sent = losses < Predictor(after).calibration.threshold(("small",), 0.05, None)
        shares.append(float((losses * sent).mean()) * (1 - unfamiliar))
    assert 0.035 < np.mean(shares) <= 0.05 + np.std(shares) / np.sqrt(len(shares))


def denied(requests: int, unfamiliar: float, seed: int) -> Iterator[dict[str, Any]]:
    """Whole scores of every model that a caller allows, most of whom allow only the middle one and the large."""
    rng = np.random.default_rng(seed)
    for number in range(requests):
        losses = {"small": float(rng.beta(1.5, 6)), "middle": float(rng.beta(1.5, 9)), "large": 0.0}
        excluded = ["small"] if rng.uniform() < 0.9 else []
        unlike = bool(rng.uniform() < unfamiliar)
        allowed = {model: loss for model, loss in losses.items() if model not in excluded}
        contested = {} if unlike else {model: loss for model, loss in allowed.items() if model != "large"}
        known: dict[str, Any] = {"excluded": excluded, "contested": contested, "unfamiliar": unlike}
        for model, loss in allowed.items():
            right = float(rng.uniform() >= loss)
            yield line(f"{seed}-{number}", model, loss, right, sampled=0.02, bound=0.05, **known)


def test_what_no_bound_would_have_sent_is_no_part_of_the_sample() -> None:
    """A turn that leans on others, or a promise that is suspended, says nothing of a weaker model's answers."""
    lines = list(compared(400, {0.01: 0.3, 0.2: 0.3}, 1.0, seed=0))
    says = {"sampled": 0.02, "bound": 0.2, "contested": {}, "version": PAIR.version}
    silent = [line(f"silent {number}", "large", 0.0, 1.0, **says) for number in range(90)]
    made = pair(np.linspace(0, 1, 500), np.zeros(500))
    assert recalibrated(made, lines + silent).facts.metrics["recalibrated_decisions"] == 400
