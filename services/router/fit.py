"""Fits a router's artefact from prompts, embeddings and each model's scores: logistic models, then calibration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, GroupShuffleSplit
from sklearn.preprocessing import StandardScaler

from services.router.artefact import Artefact, Facts
from services.router.features import FEATURE_VERSION, features
from services.router.predictor import Predictor

_LEAST_PROMPTS = 100
_PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)


@dataclass(frozen=True)
class Outcomes:
    """Scored prompts: what to fit from.

    Args:
        prompts: n texts.
        embeddings: float32 [n, d], L2-normalised.
        scores: 0 to 1 by model, [n] each; from 0.5 on a model answered well.
        groups: n labels; prompts of one group never part between fitting and calibration.
    """

    prompts: Sequence[str]
    embeddings: NDArray[np.float32]
    scores: Mapping[str, NDArray[np.float64]]
    groups: Sequence[str]


@dataclass(frozen=True)
class Recipe:
    """How to fit.

    Args:
        calibration_share: share of the groups kept out of the fit, to calibrate on.
        unfamiliar_share: share of the fitted prompts that would count as unfamiliar.
        centroids: most points that stand for all prompts.
        seed: of every random choice.
    """

    calibration_share: float = 0.5
    unfamiliar_share: float = 0.005
    centroids: int = 64
    seed: int = 0


def fit_artefact(outcomes: Outcomes, default_model: str, encoder_digest: str, recipe: Recipe) -> Artefact:
    """Fits on one part of the groups, calibrates on the other.

    Raises:
        ValueError: too few prompts, lengths that differ, or a default that was not scored.
    """
    _check(outcomes, default_model)
    right = np.stack([np.asarray(scores) >= 0.5 for scores in outcomes.scores.values()], axis=1)
    harms = ~right & right[:, [list(outcomes.scores).index(default_model)]]
    splitter = GroupShuffleSplit(1, test_size=recipe.calibration_share, random_state=recipe.seed)
    fitted, calibrated = next(splitter.split(right, groups=outcomes.groups))
    facts = Facts(
        models=tuple(outcomes.scores),
        default_model=default_model,
        encoder_digest=encoder_digest,
        embedding_dimension=outcomes.embeddings.shape[1],
        feature_version=FEATURE_VERSION,
        least_similarity=0.0,
        most_characters=max(len(outcomes.prompts[row]) for row in fitted),
        fitted_prompts=len(fitted),
        metrics={},
    )
    return _calibrated(_fitted(facts, outcomes, fitted, right, harms, recipe), outcomes, calibrated, harms)


def _fitted(
    facts: Facts,
    outcomes: Outcomes,
    rows: NDArray[np.intp],
    right: NDArray[np.bool_],
    harms: NDArray[np.bool_],
    recipe: Recipe,
) -> Artefact:
    """The artefact with weights and centroids from these rows, not calibrated yet."""
    inputs = np.stack([features(outcomes.prompts[row], outcomes.embeddings[row]) for row in rows])
    groups = np.asarray(outcomes.groups)[rows]
    quality = [_logistic(inputs, labels, groups, recipe) for labels in right[rows].T]
    loss = [_logistic(inputs, labels, groups, recipe) for labels in harms[rows].T]
    centroids, least_similarity = _familiarity(outcomes.embeddings[rows], groups, recipe)
    return Artefact(
        facts=replace(facts, least_similarity=least_similarity),
        quality_weights=np.stack([weights for weights, _ in quality]),
        quality_bias=np.array([bias for _, bias in quality], np.float32),
        loss_weights=np.stack([weights for weights, _ in loss]),
        loss_bias=np.array([bias for _, bias in loss], np.float32),
        centroids=centroids,
        calibration_losses=np.zeros((0, len(facts.models)), np.float32),
        calibration_harms=np.zeros((0, len(facts.models)), np.bool_),
        calibration_groups=np.zeros(0, np.int32),
    )


def _check(outcomes: Outcomes, default_model: str) -> None:
    lengths = {
        "prompts": len(outcomes.prompts),
        "embeddings": len(outcomes.embeddings),
        "groups": len(outcomes.groups),
        **{f"scores of {model}": len(scores) for model, scores in outcomes.scores.items()},
    }
    if len(set(lengths.values())) != 1 or len(outcomes.prompts) < _LEAST_PROMPTS:
        raise ValueError(f"got lengths {lengths}, expected them equal and at least {_LEAST_PROMPTS}")
    if default_model not in outcomes.scores:
        raise ValueError(f"default_model: got {default_model!r}, expected one of {', '.join(outcomes.scores)}")


def _logistic(
    inputs: NDArray[np.float32], labels: NDArray[np.bool_], groups: NDArray[np.str_], recipe: Recipe
) -> tuple[NDArray[np.float32], float]:
    """Weights [d] and bias of a logit; a label that is nearly constant gives the constant."""
    positives = int(labels.sum())
    if min(positives, len(labels) - positives) < 10:
        return np.zeros(inputs.shape[1], np.float32), float(np.log((positives + 0.5) / (len(labels) - positives + 0.5)))
    scaler = StandardScaler().fit(inputs)
    folds = list(GroupKFold(5, shuffle=True, random_state=recipe.seed).split(inputs, groups=groups))
    model = LogisticRegressionCV(
        Cs=_PENALTIES,
        cv=folds,
        l1_ratios=(0.0,),
        scoring="neg_log_loss",
        solver="newton-cholesky",
        use_legacy_attributes=False,
    ).fit(scaler.transform(inputs), labels)
    weights = model.coef_[0] / scaler.scale_
    return weights.astype(np.float32), float(model.intercept_[0] - weights @ scaler.mean_)


def _familiarity(
    embeddings: NDArray[np.float32], groups: NDArray[np.str_], recipe: Recipe
) -> tuple[NDArray[np.float32], float]:
    """Unit centroids [c, d] of some groups, and the cosine to the nearest that all but a few of the others reach."""
    splitter = GroupShuffleSplit(1, test_size=0.2, random_state=recipe.seed)
    inside, outside = next(splitter.split(embeddings, groups=groups))
    count = min(recipe.centroids, max(1, len(inside) // 10))
    found = KMeans(count, n_init=1, random_state=recipe.seed).fit(embeddings[inside]).cluster_centers_
    centroids = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)
    nearest = (embeddings[outside] @ centroids.T).max(axis=1)
    return centroids, float(np.quantile(nearest, recipe.unfamiliar_share))


def _calibrated(artefact: Artefact, outcomes: Outcomes, rows: NDArray[np.intp], harms: NDArray[np.bool_]) -> Artefact:
    """The artefact with its losses on prompts that it was not fitted on, predicted by the predictor that will serve."""
    predictor, models = Predictor(artefact), artefact.facts.models
    losses = np.full((len(rows), len(models)), np.inf, np.float32)
    quality = np.empty((len(rows), len(models)))
    for place, row in enumerate(rows):
        prediction = predictor.predict(outcomes.prompts[row], outcomes.embeddings[row])
        quality[place] = [prediction.quality[model] for model in models]
        if not prediction.unfamiliar:
            losses[place] = [prediction.loss[model] for model in models]
    metrics = {"unfamiliar_share": float(np.isinf(losses[:, 0]).mean())}
    for column, model in enumerate(models):
        right = np.asarray(outcomes.scores[model])[rows] >= 0.5
        metrics[f"accuracy.{model}"] = float(right.mean())
        metrics[f"harm.{model}"] = float(harms[rows, column].mean())
        if 0 < right.sum() < len(right):
            metrics[f"quality_auc.{model}"] = float(roc_auc_score(right, quality[:, column]))
    return replace(
        artefact,
        facts=replace(artefact.facts, metrics=metrics),
        calibration_losses=losses,
        calibration_harms=harms[rows],
        calibration_groups=np.unique(np.asarray(outcomes.groups)[rows], return_inverse=True)[1].astype(np.int32),
    )
