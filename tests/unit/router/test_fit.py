"""Fitting: it finds what can be known, calibrates on prompts of other groups, and repeats itself."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from services.router.fit import Outcomes, Recipe, fit_artefact
from services.router.predictor import Predictor

DIGEST = "ab" * 32


def outcomes(rows: int = 600, seed: int = 1) -> Outcomes:
    """Two topics: on the first both models are right, on the second the cheap one is wrong three times in four."""
    rng = np.random.default_rng(seed)
    hard = rng.uniform(size=rows) < 0.5
    embeddings = rng.normal(0, 0.2, (rows, 8)).astype(np.float32)
    embeddings[np.arange(rows), hard.astype(int)] += 1
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    weak = np.where(hard, rng.uniform(size=rows) < 0.25, True).astype(float)
    return Outcomes(
        prompts=[f"prompt {number}" for number in range(rows)],
        embeddings=embeddings,
        scores={"weak": weak, "strong": np.ones(rows)},
        groups=[str(number // 3) for number in range(rows)],
        domains=["hard" if one else "easy" for one in hard],
    )


def test_learns_which_topic_is_hard() -> None:
    """The fitted predictor tells the topics apart, keeps the bound on fresh prompts and uses it."""
    predictor = Predictor(fit_artefact(outcomes(), "strong", DIGEST, Recipe()))
    fresh = outcomes(400, seed=2)
    predictions = [predictor.predict(*row) for row in zip(fresh.prompts, fresh.embeddings, strict=True)]
    losses = np.array([one.loss["weak"] for one in predictions])
    sent = losses < predictor.calibration.threshold(("weak",), 0.05, None)
    wrong = fresh.scores["weak"] < 0.5
    assert losses[wrong].mean() > 0.6
    assert sent.mean() > 0.4
    assert (sent & wrong).mean() < 0.08
    assert all(one.loss["strong"] == 0 for one in predictions)


def test_repeats_itself() -> None:
    """The same outcomes and seed give the same artefact."""
    first, second = (fit_artefact(outcomes(), "strong", DIGEST, Recipe()) for _ in range(2))
    assert first.facts == second.facts
    np.testing.assert_array_equal(first.ensemble.coefficients, second.ensemble.coefficients)
    np.testing.assert_array_equal(first.calibration_losses, second.calibration_losses)


def test_facts() -> None:
    """The artefact knows how much it was fitted and calibrated on, and how the models did."""
    found = fit_artefact(outcomes(), "strong", DIGEST, Recipe(calibration_share=0.25))
    assert found.facts.fitted_prompts + len(found.calibration_losses) == 600
    assert len(found.calibration_losses) == 150
    assert found.facts.metrics["accuracy.strong"] == 1.0
    assert found.facts.metrics["quality_auc.weak"] > 0.8
    assert found.facts.most_characters == len("prompt 599")


def test_refuses_what_cannot_be_fitted() -> None:
    """Too few prompts, uneven lengths and an unscored default are refused by name."""
    with pytest.raises(ValueError, match="at least 100"):
        fit_artefact(outcomes(99), "strong", DIGEST, Recipe())
    uneven = outcomes()
    with pytest.raises(ValueError, match="'prompts': 599"):
        fit_artefact(replace(uneven, prompts=uneven.prompts[1:]), "strong", DIGEST, Recipe())
    with pytest.raises(ValueError, match="default_model: got 'gpt'"):
        fit_artefact(outcomes(), "gpt", DIGEST, Recipe())


def test_prompts_of_another_form_are_unfamiliar() -> None:
    """Where embeddings lie among the calibrated ones but words do not, nothing is promised."""
    words = ["which", "of", "these", "cities", "lies", "on", "the", "river", "that", "a", "king", "once", "crossed"]
    rng = np.random.default_rng(0)

    def worded(asked: Outcomes) -> Outcomes:
        return replace(asked, prompts=[" ".join(rng.choice(words, rng.integers(12, 24))) + "?" for _ in asked.prompts])

    predictor, fresh = Predictor(fit_artefact(worded(outcomes()), "strong", DIGEST, Recipe())), worded(outcomes(300, 2))

    def unfamiliar(prompts: Sequence[str]) -> float:
        rows = zip(prompts, fresh.embeddings, strict=True)
        return float(np.mean([bool(predictor.predict(*row).unfamiliar) for row in rows]))

    assert unfamiliar(fresh.prompts) < 0.06
    assert unfamiliar(["f(x) = 3*x^2 - 7; solve f(x) = 12, x > 0"] * 300) > 0.9
