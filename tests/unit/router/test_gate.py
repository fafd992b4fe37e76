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
    found = refusal(Decided(harmed, cost - saved), Decided(before, cost), 0.05)
    assert found == ("on 12 prompts it alone harms, on 2 what serves, and it costs no less" if refused else "")


def test_chance_is_not_taken_for_harm() -> None:
    """Three harms against two say nothing, nor does the same router beside itself."""
    cost = np.ones(_PROMPTS)
    three, two = np.arange(_PROMPTS) < 3, np.arange(_PROMPTS) >= _PROMPTS - 2
    assert not refusal(Decided(three, cost), Decided(two, cost), 0.05)
    assert not verdict(deciding(*CAREFUL), deciding(*CAREFUL), outcomes(0.5)).refused


def test_the_first_has_only_the_bound_to_keep() -> None:
    """Where nothing serves yet, nothing is compared."""
    assert not verdict(deciding(*STRONG), None, outcomes(0.5)).refused
    assert verdict(deciding(*CHEAP), None, outcomes(0.5)).refused


def test_too_few_outcomes_are_refused() -> None:
    """A comparison on a handful says nothing."""
    with pytest.raises(ValueError, match="outcomes: got 99 prompts, expected at least 100"):
        verdict(deciding(*CHEAP), None, outcomes(0.0, prompts=99))
