"""A worse router is refused by the gate, with figures, and one that is as good or cheaper is not."""

from typing import Any

import numpy as np
import pytest

from services.router.fit import Outcomes
from services.router.gate import Decided, Verdict, compare, refusal
from services.router.policy import Policy
from services.router.predictor import Predictor
from services.router.query import Objective
from tests.unit.router.parts import DIGEST, DIMENSION, artefact, policy

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
    return compare(new, serving, known, DIGEST, Objective(bound))


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
    found = refusal(Decided(harmed.astype(float), cost - saved), Decided(before.astype(float), cost), 0.05)
    assert found == ("it harms more on 12 prompts, what serves on 2, and it costs no less" if refused else "")


def test_chance_is_not_taken_for_harm() -> None:
    """Three harms against two say nothing, nor does the same router beside itself."""
    cost = np.ones(_PROMPTS)
    three, two = (one.astype(float) for one in (np.arange(_PROMPTS) < 3, np.arange(_PROMPTS) >= _PROMPTS - 2))
    assert not refusal(Decided(three, cost), Decided(two, cost), 0.05)
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


def _refused(files: Any) -> float:
    """Share of files on which a router is refused that harms so much of each question, [files, questions]."""
    return float(np.mean([bool(refusal(Decided(one, np.zeros(len(one)), True), None, 0.02)) for one in files]))


def test_the_first_has_only_the_bound_to_keep() -> None:
    """Where nothing serves yet, nothing is compared."""
    assert not verdict(deciding(*STRONG), None, outcomes(0.5)).refused
    assert verdict(deciding(*CHEAP), None, outcomes(0.5)).refused


def test_too_few_outcomes_are_refused() -> None:
    """A comparison on a handful says nothing."""
    with pytest.raises(ValueError, match="outcomes: got 99 prompts, expected at least 100"):
        verdict(deciding(*CHEAP), None, outcomes(0.0, prompts=99))
