"""The bend: where prompts are easy or hopeless for all models none gains on another, if enough prompts say so."""

import numpy as np
from numpy.typing import NDArray

from services.router.blend import fit_blend, unbent, with_ease

SCORES = np.array([0.5, 0.5], np.float32)


def outcomes(prompts: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """What is said of two models, equally good wherever; what came; and what the first truly has on the second."""
    rng = np.random.default_rng(0)
    ease = rng.uniform(0, 1, prompts)
    gain = 1.2 * ease * (1 - ease)
    chances = np.stack([ease + gain / 2, ease - gain / 2], axis=1)
    said = np.stack([ease, ease], axis=1) + rng.normal(0, 0.05, (prompts, 2))
    return said, (rng.uniform(size=(prompts, 2)) < chances).astype(np.float64), gain


def terms(
    said: NDArray[np.float64], chances: NDArray[np.float32], scores: NDArray[np.float32] = SCORES
) -> NDArray[np.float32]:
    found = np.concatenate((np.tile([1, 0, 0], (len(said), 1)), said, chances), axis=1).astype(np.float32)
    return with_ease(found, said.astype(np.float32) @ scores)


def expected(blend: NDArray[np.float32], said: NDArray[np.float64]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = terms(said, np.zeros((len(said), 0), np.float32)) @ blend
    return found


def test_unbent_leaves_what_members_expect() -> None:
    """The plain matrix gives the targets themselves, whatever domains there are."""
    said = np.array([[0.2, 0.9], [0.7, -0.1]])
    found = terms(said, np.full((2, 3), 1 / 3, np.float32)) @ unbent(2, 3)
    np.testing.assert_allclose(found, said, atol=1e-6)


def test_the_middle_is_where_models_differ() -> None:
    """Members see no difference between two models; what came of 1,500 prompts says that it is greatest in between."""
    said, came, gain = outcomes(1500)
    found = expected(fit_blend(said, came, SCORES, 0, 1500), said)
    assert np.corrcoef(found[:, 0] - found[:, 1], gain)[0, 1] > 0.8
    assert np.abs(found[:, 0] - found[:, 1] - gain).mean() < 0.1


def test_few_questions_tell_means_alone() -> None:
    """Of wordings of 100 questions it hardly matters which came out well, only how many did."""
    said, came, _ = outcomes(1500)
    shuffled = np.random.default_rng(1).permutation(came)
    found, other = (expected(fit_blend(said, one, SCORES, 0, 100), said) for one in (came, shuffled))
    assert np.abs(found - other).max() < 0.02
    many, others = (expected(fit_blend(said, one, SCORES, 0, 1500), said) for one in (came, shuffled))
    assert np.abs(many - others).max() > 0.1


def test_a_better_model_gains_where_it_is_hard_before_outcomes_say_so() -> None:
    """Of two models with means of 0.9 and 0.7 the better one has more to win where both do worse, with 60 outcomes."""
    rng = np.random.default_rng(2)
    ability = rng.normal(size=60)
    truth = 1 / (1 + np.exp(-np.stack([ability + 2.6, ability + 1.0], axis=1)))
    came = (rng.uniform(size=truth.shape) < truth).astype(np.float64)
    ease = truth.mean(axis=1, keepdims=True)
    said = ease + came.mean(axis=0) - ease.mean() + rng.normal(0, 0.02, (60, 2))
    found = expected(fit_blend(said, came, SCORES, 0, 60), said)
    gain = truth[:, 0] - truth[:, 1]
    assert abs(np.corrcoef(said[:, 0] - said[:, 1], gain)[0, 1]) < 0.3
    assert np.corrcoef(found[:, 0] - found[:, 1], gain)[0, 1] > 0.7


def test_half_of_a_harm_is_what_came_of_prompts_so_easy() -> None:
    """Members see no harm coming; it came where prompts are hard, and is expected there, half as much as it came."""
    rng = np.random.default_rng(3)
    ease = rng.uniform(0.2, 0.9, 2000)
    harm = 0.5 * (1 - ease)
    said = np.stack([ease, ease, np.zeros(2000)], axis=1)
    came = (rng.uniform(size=said.shape) < np.stack([ease, ease, harm], axis=1)).astype(np.float64)
    weights = np.array([0.5, 0.5, 0], np.float32)
    found = terms(said, np.zeros((2000, 0), np.float32), weights)
    np.testing.assert_allclose(found @ fit_blend(said, came, weights, 0, 2000)[:, 2], harm / 2, atol=0.04)


def test_a_target_that_nobody_observed_stays() -> None:
    """A model without scores keeps what the members expect of it; the other is bent by its own."""
    said, came, _ = outcomes(1500)
    came[:, 1] = np.nan
    blend = fit_blend(said, came, SCORES, 0, 1500)
    np.testing.assert_array_equal(blend[:, 1], unbent(2, 0)[:, 1])
    assert np.abs(blend[:, 0] - unbent(2, 0)[:, 0]).max() > 0.1
