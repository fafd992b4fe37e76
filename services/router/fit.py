"""Fits a router's artefact from prompts, embeddings and each model's scores: the ensemble, then its calibration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupShuffleSplit

from services.router.artefact import Artefact, Facts
from services.router.enough import expect_enough
from services.router.ensemble import fit_ensemble
from services.router.features import FEATURE_VERSION, lexical
from services.router.harm import harms
from services.router.predictor import Predictor
from services.router.prior import Prior, without_heads
from services.router.prompt_digest import digests

_STRANGE = 0.02  # share of the calibrated prompts that lie too far from the fitted ones to be familiar
_NEAR = -2.0  # two lengths of the kernel: nearer ones tell of a prompt, however narrow traffic was


@dataclass(frozen=True)
class Outcomes:
    """Scored prompts: what to fit from.

    Args:
        prompts: n texts.
        embeddings: float32 [n, d], L2-normalised.
        scores: 0 to 1 by model, [n] each, not a number where it was not asked; from 0.5 on a model answered well.
        groups: n labels; prompts of one group never part between fitting and calibration.
        domains: n labels, empty where unknown.
        mean_logprobs: mean log-probability of an answer's tokens by model, [n] each, not a number where unknown.
        agreements: share of repeats that agree with an answer by model, [n] each, not a number where unknown.
    """

    prompts: Sequence[str]
    embeddings: NDArray[np.float32]
    scores: Mapping[str, NDArray[np.float64]]
    groups: Sequence[str]
    domains: Sequence[str]
    mean_logprobs: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    agreements: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)


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


def fit_artefact(
    outcomes: Outcomes, default_model: str, encoder_digest: str, recipe: Recipe, prior: Prior | None = None
) -> Artefact:
    """Fits on one part of the groups, calibrates on the other; a `prior` brings what other outcomes tell.

    Raises:
        ValueError: too few prompts, lengths that differ, or a default that was not scored or not with every model.
    """
    _check(outcomes, default_model)
    splitter = GroupShuffleSplit(1, test_size=recipe.calibration_share, random_state=recipe.seed)
    fitted, others = next(splitter.split(outcomes.embeddings, groups=outcomes.groups))
    facts = Facts(
        models=tuple(outcomes.scores),
        default_model=default_model,
        encoder_digest=encoder_digest,
        embedding_dimension=outcomes.embeddings.shape[1],
        feature_version=FEATURE_VERSION,
        least_similarity=0.0,
        most_characters=max(len(outcomes.prompts[row]) for row in fitted),
        fitted_prompts=len(fitted),
        domains=(),
        metrics={},
    )
    return calibrated(_fitted(facts, outcomes, fitted, recipe, prior), outcomes, others)


def targets(scores: Mapping[str, NDArray[np.float64]], default_model: str) -> NDArray[np.float64]:
    """For each model its score, then that it is worse than the default: [n, 2 m], nan where unknown."""
    quality = np.stack([np.asarray(one, np.float64) for one in scores.values()], axis=1)
    default = quality[:, [list(scores).index(default_model)]]
    loss = np.where(np.isnan(quality + default), np.nan, harms(quality, default))
    return np.concatenate((quality, loss), axis=1)


def _fitted(facts: Facts, outcomes: Outcomes, rows: NDArray[np.intp], recipe: Recipe, prior: Prior | None) -> Artefact:
    """The artefact with ensemble and centroids from these rows, not calibrated yet."""
    embeddings = outcomes.embeddings[rows]
    facts_of_text = np.stack([lexical(outcomes.prompts[row]) for row in rows])
    ensemble, domains = fit_ensemble(
        prior or without_heads(embeddings, facts_of_text),
        embeddings,
        facts_of_text,
        targets(outcomes.scores, facts.default_model)[rows],
        [outcomes.domains[row] for row in rows],
        scores=len(facts.models),
        groups=[outcomes.groups[row] for row in rows],
    )
    centroids, least_similarity = _familiarity(embeddings, np.asarray(outcomes.groups)[rows], recipe)
    return Artefact(
        facts=replace(facts, least_similarity=least_similarity, domains=tuple(domains)),
        ensemble=ensemble,
        centroids=centroids,
        calibration_losses=np.zeros((0, len(facts.models)), np.float32),
        calibration_harms=np.zeros((0, len(facts.models)), np.bool_),
        calibration_groups=np.zeros(0, np.int32),
        fitted_prompts=np.sort(digests([outcomes.prompts[row] for row in rows])),
    )


def _check(outcomes: Outcomes, default_model: str) -> None:
    lengths = {
        "prompts": len(outcomes.prompts),
        "embeddings": len(outcomes.embeddings),
        "groups": len(outcomes.groups),
        "domains": len(outcomes.domains),
        **{f"scores of {model}": len(scores) for model, scores in outcomes.scores.items()},
    }
    if len(set(lengths.values())) != 1:
        raise ValueError(f"got lengths {lengths}, expected them equal")
    expect_enough(outcomes.groups, outcomes.scores, default_model)


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


def calibrated(artefact: Artefact, outcomes: Outcomes, rows: NDArray[np.intp]) -> Artefact:
    """The artefact with its losses on prompts that it was not fitted on, predicted by the predictor that will serve.

    Only prompts that every model answered calibrate: a model that was not asked might have harmed.
    """
    models = artefact.facts.models
    wanted = targets(outcomes.scores, artefact.facts.default_model)
    rows = rows[np.isfinite(wanted[rows]).all(axis=1)]
    if len(rows) < 2:
        raise ValueError(f"scores: {len(rows)} prompts to calibrate on have every model's, expected at least 2")
    texts = np.stack([lexical(outcomes.prompts[row]) for row in rows])
    near = min(_NEAR, np.quantile(artefact.ensemble.nearness(outcomes.embeddings[rows], texts), _STRANGE))
    artefact = replace(artefact, calibration_least_nearness=np.array([near], np.float32))
    predictor = Predictor(artefact)
    losses = np.full((len(rows), len(models)), np.inf, np.float32)
    quality = np.empty((len(rows), len(models)))
    for place, row in enumerate(rows):
        prediction = predictor.predict(outcomes.prompts[row], outcomes.embeddings[row])
        quality[place] = [prediction.quality[model] for model in models]
        if not prediction.unfamiliar:
            losses[place] = [prediction.loss[model] for model in models]
    harmed = wanted[rows, len(models) :] > 0
    metrics = {"unfamiliar_share": float(np.isinf(losses[:, 0]).mean())}
    for column, model in enumerate(models):
        right = wanted[rows, column] >= 0.5
        metrics[f"accuracy.{model}"] = float(right.mean())
        metrics[f"harm.{model}"] = float(harmed[:, column].mean())
        if 0 < right.sum() < len(right):
            metrics[f"quality_auc.{model}"] = float(roc_auc_score(right, quality[:, column]))
    return replace(
        artefact,
        facts=replace(artefact.facts, metrics=metrics),
        calibration_losses=losses,
        calibration_harms=harmed,
        calibration_groups=np.unique(np.asarray(outcomes.groups)[rows], return_inverse=True)[1].astype(np.int32),
        calibration_mean_logprobs=_by_model(outcomes.mean_logprobs, models, rows),
        calibration_agreements=_by_model(outcomes.agreements, models, rows),
        calibration_prompts=np.sort(digests([outcomes.prompts[row] for row in rows])),
    )


def _by_model(
    known: Mapping[str, NDArray[np.float64]], models: Sequence[str], rows: NDArray[np.intp]
) -> NDArray[np.float32] | None:
    """[rows, m], not a number where unknown; None where nothing is known."""
    unknown = np.full(len(rows), np.nan)
    found = np.stack([known[model][rows] if model in known else unknown for model in models], axis=1)
    return found.astype(np.float32) if np.isfinite(found).any() else None
