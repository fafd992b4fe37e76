"""Newcomers: a model with few scores, or a price alone, is expected to do as the fitted ones that it resembles."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.router.artefact import Artefact, load_artefact
from services.router.fit import Recipe, calibrated, fit_artefact
from services.router.newcomer import by_domain, introduced, near_in_price, weights
from services.router.plan import Reason
from services.router.predictor import Predictor
from tests.unit.router.parts import artefact, familiar, model, policy, query
from tests.unit.router.test_fit import DIGEST, outcomes

ALIKE = np.full(3, 1 / 3)


@pytest.fixture(scope="module")
def fitted() -> Artefact:
    return fit_artefact(outcomes(), "strong", DIGEST, Recipe())


def test_a_mixture_resembles_whoever_scores_alike() -> None:
    """With a hundred shared questions the model that scored the same has most weight; weights are shares."""
    rng = np.random.default_rng(0)
    shared = (rng.uniform(size=(100, 3)) < 0.5).astype(float)
    found = weights(shared, shared[:, 1], ALIKE)
    assert found[1] > 0.8
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1)


def test_without_scores_the_weights_before_hold() -> None:
    """No shared question leaves what was thought before, and a little for always and never."""
    np.testing.assert_allclose(weights(np.zeros((0, 3)), np.zeros(0), ALIKE), [0.3, 0.3, 0.3, 0.05, 0.05], atol=1e-6)


def test_a_model_better_than_all_is_not_held_back() -> None:
    """Who always answers well where the fitted ones fail half the time is expected to do better than they."""
    rng = np.random.default_rng(1)
    shared = (rng.uniform(size=(200, 3)) < 0.5).astype(float)
    found = weights(shared, np.ones(200), ALIKE)
    assert found[-2] > 0.8


def test_models_near_in_price_count_more() -> None:
    """The nearest price has most weight; where no price is known all have the same."""
    found = near_in_price(1.0, {"cheap": 0.9, "dear": 30.0, "unpriced": None})
    assert found[0] > 0.99
    assert found[2] == 0
    np.testing.assert_allclose(near_in_price(None, {"cheap": 0.9, "dear": 30.0}), [0.5, 0.5])


def test_a_specialist_is_known_by_its_scores(fitted: Artefact) -> None:
    """Half weak, half strong overall, but right on every hard question: it is expected to do better there."""
    mixture = np.array([0.5, 0.5, 0, 0])
    assert fitted.facts.models == ("weak", "strong")
    left = np.concatenate([np.full(60, 0.4), np.full(60, -0.1)])
    better = by_domain(left, ["hard"] * 60 + ["easy"] * 60, fitted.facts.domains)
    assert dict(zip(fitted.facts.domains, better, strict=True))["hard"] == pytest.approx(0.32)
    plain, special = (Predictor(introduced(fitted, "new", mixture, gain)) for gain in (np.zeros(2), better))
    hard = np.eye(8, dtype=np.float32)[1]
    one, other = plain.predict("prompt", hard), special.predict("prompt", hard)
    assert other.quality["new"] > one.quality["new"] + 0.2
    assert other.loss["new"] < one.loss["new"]
    assert other.quality["weak"] == pytest.approx(one.quality["weak"])


def test_a_newcomer_lies_between_those_it_is_made_of(fitted: Artefact) -> None:
    """Its expected quality and harm are the mixture's; others' do not change; the file holds it."""
    predictor = Predictor(introduced(fitted, "new", np.array([0.5, 0.5, 0, 0]), np.zeros(2)))
    for vector in np.eye(8, dtype=np.float32)[:2]:
        before, found = Predictor(fitted).predict("prompt", vector), predictor.predict("prompt", vector)
        assert found.quality["weak"] <= found.quality["new"] <= found.quality["strong"]
        assert found.loss["new"] <= found.loss["weak"]
        assert {name: found.quality[name] for name in before.quality} == pytest.approx(before.quality, abs=1e-5)


def test_nothing_is_promised_of_a_newcomer_until_it_is_calibrated(fitted: Artefact, tmp_path: Path) -> None:
    """A newcomer is in no calibration, also from the file; outcomes with its scores calibrate it."""
    path = tmp_path / "new.safetensors"
    fitted = replace(fitted, calibration_agreements=np.ones_like(fitted.calibration_losses))
    introduced(fitted, "new", np.array([0.5, 0.5, 0, 0]), np.zeros(2)).save(path)
    loaded = load_artefact(path)
    assert loaded.calibration_agreements is not None
    assert np.isfinite(loaded.calibration_agreements).all(axis=0).tolist() == [True, True, False]
    assert "new" not in Predictor(loaded).calibration.calibrated
    assert "weak" in Predictor(loaded).calibration.calibrated
    fresh = outcomes(300, seed=5)
    fresh = replace(fresh, scores={**fresh.scores, "new": fresh.scores["weak"]})
    assert "new" in Predictor(calibrated(loaded, fresh, np.arange(300))).calibration.calibrated


def test_a_request_never_goes_to_an_uncalibrated_newcomer() -> None:
    """The cheapest model by far is passed over while nothing is promised of it, and the plan tells its quality."""
    known = introduced(artefact(), "new", np.array([1.0, 0, 0, 0, 0]), np.zeros(0))
    plan = policy(model("new", 0.1), predictor=Predictor(known)).plan(query(loss=0.5, vector=familiar()))
    assert plan.models[0].model == "small"
    assert next(one for one in plan.models if one.model == "new").quality == pytest.approx(0.6)
    alone = query(loss=0.5, vector=familiar(), candidates=("new", "large"))
    found = policy(model("new", 0.1), predictor=Predictor(known)).plan(alone)
    assert (found.models[0].model, found.reason) == ("large", Reason.NO_PREDICTOR)


def test_a_fitted_model_is_no_newcomer(fitted: Artefact) -> None:
    """The refusal names the fitted models."""
    with pytest.raises(ValueError, match="expected a model that is not among the fitted weak, strong"):
        introduced(fitted, "weak", np.array([0.5, 0.5, 0, 0]), np.zeros(2))
