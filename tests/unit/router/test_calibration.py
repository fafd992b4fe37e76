"""The bound: what conformal risk control and learn-then-test promise, checked by simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom

from services.router.calibration import Calibration, onsets, tolerated_harms


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


@given(st.integers(1, 60), st.integers(0, 2**32 - 1), st.floats(0, 1), st.sampled_from([None, 0.5, 0.9]))
@settings(max_examples=150, deadline=None)
def test_threshold_is_the_largest_allowed(prompts: int, seed: int, bound: float, confidence: float | None) -> None:
    """The calibration prompts harmed below the threshold are at most those tolerated, and one more just above it."""
    losses, harms = draw(np.random.default_rng(seed), prompts)
    threshold = Calibration(("a", "b"), losses, harms).threshold(("a", "b"), bound, confidence)
    tolerated = tolerated_harms(prompts, bound, confidence)
    if tolerated < 0:
        assert threshold == -np.inf
        return
    everywhere = [harmed(losses, harms, one) for one in np.unique(losses[np.isfinite(losses)]) if one <= threshold]
    ever = np.any(everywhere, axis=0) if everywhere else np.zeros(prompts, bool)
    assert (harmed(losses, harms, threshold) | ever).sum() <= tolerated
    if np.isfinite(threshold):
        assert (onsets(losses, harms) <= threshold).sum() > tolerated


@given(st.integers(1, 5000), st.floats(0, 1), st.sampled_from([0.5, 0.9, 0.99]))
@settings(max_examples=100, deadline=None)
def test_tolerated_harms_match_their_definitions(prompts: int, bound: float, confidence: float) -> None:
    """The counts are the largest that satisfy the inequality of each promise."""
    average = tolerated_harms(prompts, bound, None)
    assert (average + 1) / (prompts + 1) <= bound + 1e-9
    assert average == prompts or (average + 2) / (prompts + 1) > bound - 1e-9
    sure = tolerated_harms(prompts, bound, confidence)
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
    """A model that always harms tightens the threshold of those sets that hold it."""
    losses = np.tile(np.linspace(0, 1, 1000, dtype=np.float32)[:, None], 2)
    harms = np.zeros((1000, 2), bool)
    harms[:, 1] = True
    calibration = Calibration(("good", "bad"), losses, harms)
    assert calibration.threshold(("good",), 0.05, None) == np.inf
    assert calibration.threshold(("bad",), 0.05, None) < 0.06
