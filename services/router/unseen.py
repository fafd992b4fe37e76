"""Prompts that a router was not fitted on: no others tell how far it may be trusted, as it knows the answers to those.

A router keeps no prompt, but digests of all that it was fitted or calibrated on: its bound holds on the latter whatever
it does on others. A file of before has none of the former, but the points that they make in its kernel's space, up to
1,024 of them. The same prompt makes the same point; in MMLU the nearest of two different ones are 0.37 apart.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from services.router.artefact import Artefact
from services.router.features import lexical
from services.router.fit import Outcomes
from services.router.prompt_digest import digests
from services.router.scored import InvalidOutcomes

_SAME = 0.01
_MOST_MISSED = 0.05  # of what is left, that may have been fitted on without being known for it


def fitted_on(artefact: Artefact, outcomes: Outcomes) -> NDArray[np.bool_]:
    """Which prompts are known to have been fitted on, or share a group with such a one, [n]."""
    if artefact.fitted_prompts is not None:
        return _of_groups(outcomes, np.isin(digests(outcomes.prompts), artefact.fitted_prompts))
    points = artefact.ensemble.points(outcomes.embeddings, np.stack([lexical(prompt) for prompt in outcomes.prompts]))
    distances, _ = KDTree(artefact.ensemble.landmarks).query(points, distance_upper_bound=_SAME)
    return _of_groups(outcomes, np.isfinite(distances))


def calibrated_on(artefact: Artefact, outcomes: Outcomes) -> NDArray[np.bool_]:
    """Which prompts it was calibrated on, or share a group with such a one, [n]; none where its file does not tell."""
    if artefact.calibration_prompts is None:
        return np.zeros(len(outcomes.prompts), np.bool_)
    return _of_groups(outcomes, np.isin(digests(outcomes.prompts), artefact.calibration_prompts))


def _of_groups(outcomes: Outcomes, known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    groups = np.asarray(outcomes.groups)
    found: NDArray[np.bool_] = np.isin(groups, groups[known])
    return found


def unseen(artefacts: Sequence[Artefact], outcomes: Outcomes, calibrated: bool = False) -> Outcomes:
    """The outcomes of prompts that none of these was fitted on, nor calibrated on, where that matters.

    Raises:
        InvalidOutcomes: too many of those left may be such, as not all that were fitted on are kept.
    """
    left = np.ones(len(outcomes.prompts), np.bool_)
    missed = 0.0
    for artefact in artefacts:
        known = fitted_on(artefact, outcomes)
        if artefact.fitted_prompts is None:
            kept = min(1.0, len(artefact.ensemble.landmarks) / artefact.facts.fitted_prompts)
            missed += known.sum() * (1 / kept - 1)
        left &= ~known
        if calibrated:
            left &= ~calibrated_on(artefact, outcomes)
    if missed > _MOST_MISSED * left.sum():
        got = f"{(~left).sum()} of {len(left)} prompts that the router knows, and about {missed:.0f} more"
        raise InvalidOutcomes(f"outcomes: got {got}, expected others")
    return at(outcomes, np.flatnonzero(left))


def at(outcomes: Outcomes, rows: NDArray[np.intp]) -> Outcomes:
    """Some of the prompts, by place."""
    return replace(
        outcomes,
        prompts=[outcomes.prompts[row] for row in rows],
        embeddings=outcomes.embeddings[rows],
        scores={model: scores[rows] for model, scores in outcomes.scores.items()},
        groups=[outcomes.groups[row] for row in rows],
        domains=[outcomes.domains[row] for row in rows],
        mean_logprobs={model: known[rows] for model, known in outcomes.mean_logprobs.items()},
        agreements={model: known[rows] for model, known in outcomes.agreements.items()},
    )
