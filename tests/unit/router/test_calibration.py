"""The bound: what conformal risk control and learn-then-test promise, checked by simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom

from services.router.calibration import Calibration, _rounded_down, harm_curve, tolerated_on_average
from services.router.harm_test import most_harms_of_prompts


def draw(rng: np.random.Generator, prompts: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Two cheap models whose predicted losses are right only in rank, and wrong in size, as a poor predictor's are."""
    losses = rng.uniform(0, 1, (prompts, 2)).astype(np.float32)
    harms = rng.uniform(size=(prompts, 2)) < 0.5 * losses**2
    losses[rng.uniform(size=prompts) < 0.05] = np.inf  # unfamiliar
    return losses, harms


def harmed(losses: NDArray[np.float32], harms: NDArray[np.bool_], threshold: float) -> NDArray[np.bool_]:
    """Whether the cheapest model below the threshold, if any, does harm."""
    below = losses < threshold
    chosen = below.argmax(axis=1)
    found: NDArray[np.bool_] = below.any(axis=1) & harms[np.arange(len(harms)), chosen]
    return found


def true_harm(threshold: float) -> float:
    """The share of prompts of `draw` harmed at a threshold: of the familiar ones, by the first model or the second."""
    t = float(np.clip(threshold, 0, 1))
    return 0.95 * (t**3 / 6 + (1 - t) * t**3 / 6)


def test_true_harm_is_that_of_the_draws() -> None:
    """The formula that the promises below are held against agrees with counting."""
    losses, harms = draw(np.random.default_rng(4), 400_000)
    for threshold in (0.3, 0.7, np.inf):
        assert harmed(losses, harms, threshold).mean() == pytest.approx(true_harm(threshold), abs=0.002)


@pytest.mark.parametrize("bound", [0.01, 0.02, 0.05, 0.1])
def test_mean_harm_stays_within_the_bound(bound: float) -> None:
    """Over many calibrations the mean harm on fresh prompts is at most the bound, and not far below it."""
    rng, prompts = np.random.default_rng(5), 400
    calibrations = [Calibration(("a", "b"), *draw(rng, prompts)) for _ in range(1000)]
    risks = [true_harm(one.threshold(("a", "b"), bound, None)) for one in calibrations]
    error = 2 * np.std(risks) / np.sqrt(len(risks))
    assert np.mean(risks) <= bound + error
    assert np.mean(risks) >= 0.85 * bound - 2 / prompts - error


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_confidence_holds(confidence: float) -> None:
    """With a confidence, the share of calibrations whose true harm exceeds the bound is at most the rest."""
    rng, draws, bound = np.random.default_rng(6), 1000, 0.05
    calibrations = [Calibration(("a", "b"), *draw(rng, 400)) for _ in range(draws)]
    broken = [true_harm(one.threshold(("a", "b"), bound, confidence)) > bound for one in calibrations]
    assert np.mean(broken) <= 1 - confidence + 2 * np.sqrt(confidence * (1 - confidence) / draws)
    assert any(broken)  # the promise is used, not avoided


@given(st.integers(1, 60), st.integers(0, 2**32 - 1), st.integers(0, 1000), st.sampled_from([None, 0.5, 0.9]))
@settings(max_examples=150, deadline=None)
def test_threshold_is_the_largest_allowed(prompts: int, seed: int, bound: float, confidence: float | None) -> None:
    """At no threshold up to this one are more calibration prompts harmed than tolerated, and just above it more are."""
    losses, harms = draw(np.random.default_rng(seed), prompts)
    bound /= 1000
    threshold = Calibration(("a", "b"), losses, harms).threshold(("a", "b"), bound, confidence)
    if confidence is None:
        tolerated = tolerated_on_average(prompts, bound)
    else:
        tolerated = most_harms_of_prompts(prompts, bound, 0.5 * (1 - confidence))
    if tolerated < 0:
        assert threshold == -np.inf
        return
    finite = np.unique(losses[np.isfinite(losses)])
    assert all(harmed(losses, harms, one).sum() <= tolerated for one in (*finite[finite <= threshold], threshold))
    if threshold <= finite.max(initial=-np.inf) and confidence is not None:
        assert harmed(losses, harms, np.nextafter(np.float32(threshold), np.float32(np.inf))).sum() > tolerated


@pytest.mark.parametrize("confidence", [None, 0.9])
def test_near_bounds_share_what_was_worked_out(confidence: float | None) -> None:
    """A caller's very own bound costs no threshold of its own, and is never taken for a looser one."""
    losses, harms = draw(np.random.default_rng(0), 2000)
    calibration = Calibration(("a", "b"), losses, harms, np.arange(2000) // 2)
    bounds = np.linspace(0.05, 0.0509, 1000)
    kept = [calibration.threshold(("a", "b"), bound, confidence and confidence + bound / 100) for bound in bounds]
    assert calibration._remembered.cache_info().misses <= 10 * (1 if confidence is None else 2)
    exact = [calibration._threshold(("a", "b"), bound, confidence and 1 - confidence, True) for bound in bounds[::50]]
    assert all(one <= other for one, other in zip(kept[::50], exact, strict=True))
    assert kept[0] > 0
    for bound in (0.02, 0.05, 0.07, 0.1, 0.29, 0.58, 1e-7):
        assert _rounded_down(bound, 3) == (bound if bound > 1e-6 else 0)


@given(st.integers(1, 60), st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_the_curve_counts_harms_at_every_threshold(prompts: int, seed: int) -> None:
    """Between two of its steps the curve says how many prompts a threshold harms, also where that falls."""
    losses, harms = draw(np.random.default_rng(seed), prompts)
    thresholds, counts = harm_curve(losses, harms, np.ones(prompts))
    for step, count in zip(thresholds, counts, strict=True):
        assert harmed(losses, harms, np.nextafter(step, np.float32(np.inf))).sum() == pytest.approx(count)


@given(st.integers(1, 5000), st.floats(0, 1), st.sampled_from([0.5, 0.9, 0.99]))
@settings(max_examples=100, deadline=None)
def test_tolerated_harms_match_their_definitions(prompts: int, bound: float, confidence: float) -> None:
    """The counts are the largest that satisfy the inequality of each promise."""
    average = tolerated_on_average(prompts, bound)
    assert (average + 1) / (prompts + 1) <= bound + 1e-9
    assert average == prompts or (average + 2) / (prompts + 1) > bound - 1e-9
    sure = most_harms_of_prompts(prompts, bound, 1 - confidence)
    if bound < 1:
        assert sure == -1 or binom.cdf(sure, prompts, bound) <= 1 - confidence + 1e-12
        assert binom.cdf(sure + 1, prompts, bound) > 1 - confidence - 1e-12


def test_a_bound_too_tight_for_the_data_promises_nothing() -> None:
    """With 50 prompts nothing can be promised at 1 %, and all at 100 %."""
    calibration = Calibration(("a", "b"), *draw(np.random.default_rng(0), 50))
    assert calibration.threshold(("a", "b"), 0.01, None) == -np.inf
    assert calibration.threshold(("a", "b"), 0.0, None) == -np.inf
    assert calibration.threshold(("a", "b"), 1.0, None) == np.inf
    assert calibration.threshold(("a", "b"), 1.0, 0.99) == np.inf


def test_each_set_of_models_has_its_own_threshold() -> None:
    """A model that always harms tightens the threshold of sets that hold it; none is beyond what was calibrated."""
    losses = np.tile(np.linspace(0, 1, 1000, dtype=np.float32)[:, None], 2)
    harms = np.zeros((1000, 2), bool)
    harms[:, 1] = True
    calibration = Calibration(("good", "bad"), losses, harms)
    assert calibration.threshold(("good",), 0.05, None) == np.nextafter(np.float32(1), np.float32(2))
    assert calibration.threshold(("bad",), 0.05, None) < 0.06


def in_groups(rng: np.random.Generator, groups: int) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.intp]]:
    """One to nine wordings a question, of which all harm or none does, and whose predicted losses are nearly equal."""
    losses, harms = draw(rng, groups)
    labels = np.repeat(np.arange(groups), rng.integers(1, 10, groups))
    apart = rng.uniform(0, 1e-4, (len(labels), 2)).astype(np.float32)
    return losses[labels] + apart, harms[labels], labels


def test_mean_harm_stays_within_the_bound_for_wordings_of_few_questions() -> None:
    """Wordings of a question are one draw, some of which are popular: taken for many they harm more than the bound."""
    rng, models, bound = np.random.default_rng(8), ("a", "b"), 0.05
    risks: list[tuple[float, float]] = []
    for _ in range(400):
        losses, harms = draw(rng, 60)
        labels = np.repeat(np.arange(60), rng.choice([1, 90], 60))
        found = [Calibration(models, losses[labels], harms[labels], groups) for groups in (labels, None)]
        grouped, alone = (true_harm(one.threshold(models, bound, None)) for one in found)
        risks.append((grouped, alone))
    (grouped, alone), error = np.mean(risks, axis=0), 2 * np.std(risks, axis=0).max() / np.sqrt(len(risks))
    assert 0.5 * bound <= grouped <= bound + error
    assert alone > bound + error


def test_confidence_holds_for_wordings_of_few_questions_where_they_are_known() -> None:
    """With groups the confidence holds although wordings share their fate; without them it is promised too often."""
    rng, bound, confidence, models = np.random.default_rng(7), 0.1, 0.9, ("a", "b")
    risks: list[tuple[float, float]] = []
    for _ in range(300):
        losses, harms, labels = in_groups(rng, 300)
        found = [Calibration(models, losses, harms, groups) for groups in (labels, None)]
        grouped, alone = (true_harm(one.threshold(models, bound, confidence)) for one in found)
        risks.append((grouped, alone))
    grouped_over, alone_over = (np.array(risks) > bound).mean(axis=0)
    assert grouped_over <= 1 - confidence < alone_over
    assert np.array(risks)[:, 0].mean() > 0.4 * bound  # the promise is used, not avoided


def test_groups_of_one_are_no_groups() -> None:
    """Where every prompt is a group of its own, the exact tail decides, as without groups."""
    losses, harms = draw(np.random.default_rng(8), 500)
    alone = Calibration(("a", "b"), losses, harms, np.arange(500))
    plain = Calibration(("a", "b"), losses, harms)
    assert alone.threshold(("a", "b"), 0.05, 0.9) == plain.threshold(("a", "b"), 0.05, 0.9) > 0


def test_few_groups_prove_nothing() -> None:
    """Forty questions are too few for 2 % at 90 %, however many wordings each has."""
    losses, harms, labels = in_groups(np.random.default_rng(9), 40)
    calibration = Calibration(("a", "b"), losses, harms, labels)
    assert calibration.threshold(("a", "b"), 0.02, 0.9) == -np.inf
    assert calibration.threshold(("a", "b"), 1.0, 0.9) == np.inf


def test_without_an_order_any_harm_below_the_threshold_counts() -> None:
    """Where the order of models differs by prompt, whichever is chosen below the threshold keeps the bound."""
    rng = np.random.default_rng(10)
    losses, harms = draw(rng, 4000)
    calibration = Calibration(("a", "b"), losses[:2000], harms[:2000])
    ordered, any_order = (calibration.threshold(("a", "b"), 0.05, None, one) for one in (True, False))
    assert any_order < ordered
    below, worst = losses[2000:] < any_order, harms[2000:]
    assert (below & worst).any(axis=1).mean() <= 0.06
