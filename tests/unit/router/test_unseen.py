"""Prompts that a router was fitted on are known by what its file keeps, as far as it keeps them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.router.artefact import Artefact, load_artefact
from services.router.fit import Recipe, fit_artefact
from services.router.least_bound import least_bound
from services.router.predictor import Predictor
from services.router.scored import InvalidOutcomes
from services.router.unseen import at, calibrated_on, fitted_on, unseen
from tests.unit.router.test_fit import outcomes

FITTED = outcomes(300, seed=1)
OTHERS = replace(outcomes(300, seed=2), prompts=[f"another {place}" for place in range(300)])


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    path = tmp_path_factory.mktemp("router") / "router.safetensors"
    fit_artefact(FITTED, "strong", "0" * 64, Recipe()).save(path)
    return load_artefact(path)


def test_the_fitted_half_is_known_and_nothing_else(fitted: Artefact) -> None:
    """Half of the log fitted, and was not calibrated on; of other prompts none is taken for one."""
    known = fitted_on(fitted, FITTED)
    assert known.sum() == fitted.facts.fitted_prompts
    left = unseen([fitted], FITTED)
    assert len(left.prompts) == len(fitted.calibration_losses)
    predictor = Predictor(fitted)
    losses = [predictor.predict(*row).loss["weak"] for row in zip(left.prompts, left.embeddings, strict=True)]
    calibrated = fitted.calibration_losses[:, fitted.facts.models.index("weak")]
    familiar = np.sort(calibrated[np.isfinite(calibrated)])
    assert np.abs(np.sort(losses)[:, None] - familiar).min(axis=0).max() < 1e-5
    assert not fitted_on(fitted, OTHERS).any()


def test_prompts_of_a_known_group_are_known(fitted: Artefact) -> None:
    """Another wording of what was fitted is no other question."""
    rows = np.flatnonzero(fitted_on(fitted, FITTED))[:1]
    other = at(OTHERS, np.arange(20))
    mixed = replace(
        other,
        prompts=[*other.prompts, FITTED.prompts[rows[0]]],
        embeddings=np.concatenate((other.embeddings, FITTED.embeddings[rows])),
        scores={model: np.append(scores, 1.0) for model, scores in other.scores.items()},
        groups=["one", "one", *other.groups[2:], "one"],
        domains=[*other.domains, ""],
    )
    assert np.flatnonzero(fitted_on(fitted, mixed)).tolist() == [0, 1, 20]


def test_the_calibrated_half_is_known_where_that_matters(fitted: Artefact) -> None:
    """Whatever its casing and white space, and with its group; a file that does not tell knows none of it."""
    known = calibrated_on(fitted, FITTED)
    assert known.sum() == len(fitted.calibration_losses)
    assert not (known & fitted_on(fitted, FITTED)).any()
    spaced = replace(FITTED, prompts=[f" {prompt.upper()}\n" for prompt in FITTED.prompts])
    assert (calibrated_on(fitted, spaced) == known).all()
    assert not calibrated_on(fitted, replace(FITTED, prompts=[f"{prompt}!" for prompt in FITTED.prompts])).any()
    assert calibrated_on(fitted, replace(FITTED, groups=["one"] * 300)).all()
    assert len(unseen([fitted], FITTED).prompts) == known.sum()
    assert len(unseen([fitted], FITTED, calibrated=True).prompts) == 0


def test_a_file_of_before_does_not_tell_what_it_was_calibrated_on(fitted: Artefact, tmp_path: Path) -> None:
    """It loads as it did, and leaves out what it was fitted on, by its landmarks."""
    path = tmp_path / "before.safetensors"
    replace(fitted, calibration_prompts=None, fitted_prompts=None).save(path)
    before = load_artefact(path)
    assert before.calibration_prompts is None
    assert before.fitted_prompts is None
    assert (fitted_on(before, FITTED) == fitted_on(fitted, FITTED)).all()
    assert len(unseen([before], FITTED, calibrated=True).prompts) == len(before.calibration_losses)


def test_where_not_all_are_kept_many_known_ones_are_refused(fitted: Artefact) -> None:
    """Of a file of before that keeps a tenth of what it was fitted on the others cannot be told apart."""
    facts = replace(fitted.facts, fitted_prompts=10 * fitted.facts.fitted_prompts)
    large = replace(fitted, facts=facts, fitted_prompts=None)
    with pytest.raises(InvalidOutcomes, match=r"got 150 of 300 prompts .* and about 1350 more, expected others"):
        unseen([fitted, large], FITTED)
    assert len(unseen([large], OTHERS).prompts) == 300


@pytest.mark.parametrize("confidence", [None, 0.9])
def test_below_the_least_bound_nothing_is_promised(fitted: Artefact, confidence: float | None) -> None:
    """At it something is, a tenth below nothing; a confidence takes more."""
    calibration = Predictor(fitted).calibration
    models = tuple(model for model in fitted.facts.models if model != "strong")
    found = least_bound(calibration, models, confidence)
    assert calibration.threshold(models, found, confidence, in_order=False) > -np.inf
    assert calibration.threshold(models, 0.8 * found, confidence, in_order=False) == -np.inf
    assert found >= least_bound(calibration, models, None)
