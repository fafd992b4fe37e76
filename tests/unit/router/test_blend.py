"""The bend: where prompts are easy or hopeless for all models none gains on another, if enough prompts say so."""

import numpy as np
from numpy.typing import NDArray

from services.router.blend import fit_blend, terms, unbent

SCORES = np.array([0.5, 0.5], np.float32)


def outcomes(prompts: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """What is said of two models, equally good wherever; what came; and what the first truly has on the second."""
    rng = np.random.default_rng(0)
    ease = rng.uniform(0, 1, prompts)
    gain = 1.2 * ease * (1 - ease)
    chances = np.stack([ease + gain / 2, ease - gain / 2], axis=1)
    said = np.stack([ease, ease], axis=1) + rng.normal(0, 0.05, (prompts, 2))
    return said, (rng.uniform(size=(prompts, 2)) < chances).astype(np.float64), gain


def expected(blend: NDArray[np.float32], said: NDArray[np.float64]) -> NDArray[np.float32]:
    chances = np.zeros((len(said), 0), np.float32)
    found: NDArray[np.float32] = terms(said.astype(np.float32), chances, SCORES) @ blend
    return found


def test_unbent_leaves_what_members_expect() -> None:
    """The plain matrix gives the targets themselves, whatever domains there are."""
    said = np.array([[0.2, 0.9], [0.7, -0.1]], np.float32)
    found = terms(said, np.full((2, 3), 1 / 3, np.float32), SCORES) @ unbent(2, 3)
    np.testing.assert_allclose(found, said, atol=1e-6)


def test_the_middle_is_where_models_differ() -> None:
    """Members see no difference between two models; what came of 1,500 prompts says that it is greatest in between."""
    said, came, gain = outcomes(1500)
    found = expected(fit_blend(said, came, SCORES, 0, 1500), said)
    assert np.corrcoef(found[:, 0] - found[:, 1], gain)[0, 1] > 0.8
    assert np.abs(found[:, 0] - found[:, 1] - gain).mean() < 0.1


def test_few_questions_bend_little() -> None:
    """As many prompts, but wordings of 100 questions, leave what the members expect, but for the mean."""
    said, came, _ = outcomes(1500)
    found = expected(fit_blend(said, came, SCORES, 0, 100), said)
    moved = found - said
    assert np.abs(moved - moved.mean(axis=0)).max() < 0.01


def test_a_target_that_nobody_observed_stays() -> None:
    """A model without scores keeps what the members expect of it; the other is bent by its own."""
    said, came, _ = outcomes(1500)
    came[:, 1] = np.nan
    blend = fit_blend(said, came, SCORES, 0, 1500)
    np.testing.assert_array_equal(blend[:, 1], unbent(2, 0)[:, 1])
    assert np.abs(blend[:, 0] - unbent(2, 0)[:, 0]).max() > 0.1
