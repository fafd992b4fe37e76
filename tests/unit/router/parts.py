"""A small catalogue and predictors with known weights, for the router's tests."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.router.artefact import Artefact, Facts
from services.router.blend import unbent
from services.router.catalogue import Catalogue, Model
from services.router.eligibility import Eligibility
from services.router.ensemble import Ensemble
from services.router.features import FEATURE_VERSION, LEXICAL_FEATURES
from services.router.policy import Policy
from services.router.predictor import Prediction, Predictor, Vector
from services.router.prices import ListPrice
from services.router.prior import Prior
from services.router.query import Objective, Query

DIMENSION = 4
DIGEST = "ab" * 32
MODELS = ("small", "middle", "large")


def price(usd: float) -> ListPrice:
    return ListPrice(usd, usd / 10, usd, usd)


def model(name: str, usd: float | None, **changes: Any) -> Model:
    made = Model(
        name=name,
        context_tokens=1000,
        domains=(),
        supports_tools=False,
        is_default=False,
        bytes_per_token=1.0,
        price=None if usd is None else price(usd),
    )
    return replace(made, **changes)


def catalogue(*extra: Model) -> Catalogue:
    strong = model("large", 10, is_default=True, context_tokens=4000, supports_tools=True)
    return Catalogue([strong, model("small", 1), model("middle", 4, context_tokens=2000), *extra])


def artefact(
    losses: Sequence[float] = (0.08, 0.03, 0.001),
    quality: Sequence[float] = (0.6, 0.7, 0.9),
    prompts: int = 1000,
    seed: int = 0,
    **facts: Any,
) -> Artefact:
    """Predicts the same for every prompt along the first axis; calibrated on prompts harmed as often as predicted."""
    rng = np.random.default_rng(seed)
    calibration_losses = rng.uniform(0, 0.5, (prompts, 3)).astype(np.float32)
    calibration_losses[:, 2] = 0
    known: dict[str, Any] = {
        "models": MODELS,
        "default_model": "large",
        "encoder_digest": DIGEST,
        "embedding_dimension": DIMENSION,
        "feature_version": FEATURE_VERSION,
        "least_similarity": 0.5,
        "most_characters": 5000,
        "fitted_prompts": 1000,
        "domains": (),
        "metrics": {"accuracy.small": 0.6},
    }
    return Artefact(
        facts=Facts(**(known | facts)),
        ensemble=constant([*quality, *losses]),
        centroids=np.eye(1, DIMENSION, dtype=np.float32),
        calibration_losses=calibration_losses,
        calibration_harms=rng.uniform(size=(prompts, 3)) < calibration_losses,
        calibration_groups=np.arange(prompts, dtype=np.int32),
    )


def constant(expected: Sequence[float]) -> Ensemble:
    """Expects the same of every prompt."""
    lexical = len(LEXICAL_FEATURES)
    width = DIMENSION + lexical
    prior = Prior(
        projection=np.eye(DIMENSION, dtype=np.float32),
        centre=np.zeros(lexical, np.float32),
        spread=np.ones(lexical, np.float32),
        landmarks=np.zeros((0, width), np.float32),
        coefficients=np.zeros((0, 0), np.float32),
        offset=np.zeros(0, np.float32),
    )
    return Ensemble(
        prior=prior,
        centre=np.zeros(lexical, np.float32),
        spread=np.ones(lexical, np.float32),
        landmarks=np.zeros((1, width), np.float32),
        coefficients=np.zeros((1 + lexical, len(expected)), np.float32),
        offset=np.array(expected, np.float32),
        domain_targets=np.zeros((0, len(expected)), np.float32),
        scores=np.zeros(len(expected), np.float32),
        blend=unbent(len(expected), 0),
    )


class Told(Predictor):
    """Predicts of prompt "7" what row 7 of `live` says, losses [n, m]; calibrated on rows of others."""

    live: NDArray[np.float32]

    def predict(self, text: str, embedding: NDArray[np.float32]) -> Prediction:
        losses = dict(zip(self.models, self.live[int(text)].tolist(), strict=True))
        return Prediction({name: 1 - loss for name, loss in losses.items()}, losses, "")


def told(losses: Any, harms: Any, live: Any, **changes: Any) -> Told:
    """Of the MODELS, calibrated on these losses and harms [n, m]; `changes` are of the artefact."""
    calibrated = np.asarray(losses, np.float32), np.asarray(harms, np.bool_)
    rows: dict[str, Any] = {"calibration_losses": calibrated[0], "calibration_harms": calibrated[1]}
    rows["calibration_groups"] = np.arange(len(losses), dtype=np.int32)
    made = Told(replace(artefact(models=MODELS[-calibrated[0].shape[1] :]), **(rows | changes)))
    made.live = np.asarray(live, np.float32)
    return made


def policy(*extra: Model, predictor: Predictor | None = None) -> Policy:
    return Policy(Eligibility(catalogue(*extra), expected_output_tokens=100), predictor)


def familiar() -> Vector:
    return Vector(np.eye(1, DIMENSION, dtype=np.float32)[0], DIGEST)


def query(text: str = "a prompt", loss: float = 0.02, **fields: Any) -> Query:
    """A query whose keyword arguments are its own fields, or its objective's."""
    limits = {name: fields.pop(name) for name in list(fields) if name in Objective.__dataclass_fields__}
    return Query(text=text, objective=Objective(max_quality_loss=loss, **limits), **fields)


def written(folder: Path, text: str) -> Path:
    path = folder / "catalogue.yaml"
    path.write_text(text, encoding="utf-8")
    return path
