"""Models of which a few shared questions are known, or a price alone: mixtures of the fitted ones stand for them.

A mixture needs no prompt of its own to fit on: whoever answers as the newcomer does on the shared questions stands for
it on all others. It is one more column of the ensemble's last matrix, and so costs a decision nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from services.router.artefact import Artefact

_TRUST = 3.0  # what the weights before any score are worth, in questions
_EXTREMES = 0.1  # of those weights, on answering always well and never well
_DOMAIN_TRUST = 15.0  # what "as good as its mixture" is worth in each domain, in questions
_SUM = 1e3  # how much more than all questions it counts that weights sum to one


def weights(shared: NDArray[np.float64], own: NDArray[np.float64], before: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much of each fitted model is in a newcomer, none below 0, 1 in all: [m + 2], the last two always and never.

    Args:
        shared: scores of the m fitted models on k questions, [k, m]; k may be 0.
        own: the newcomer's on the same, [k].
        before: the weights that no score speaks against, [m], 1 in all.
    """
    count = len(own)
    start = np.append(before * (1 - _EXTREMES), [_EXTREMES / 2, _EXTREMES / 2])
    known = np.concatenate((shared, np.ones((count, 1)), np.zeros((count, 1))), axis=1)
    trusted = np.sqrt(_TRUST) * np.eye(len(start))
    rows = np.concatenate((known, trusted, np.full((1, len(start)), _SUM)))
    solved: NDArray[np.float64] = nnls(rows, np.concatenate((own, np.sqrt(_TRUST) * start, [_SUM])))[0]
    found: NDArray[np.float64] = solved / solved.sum()
    return found


def near_in_price(price: float | None, others: Mapping[str, float | None]) -> NDArray[np.float64]:
    """Weights of models by how near their prices are, [m], 1 in all; all the same where prices are not known.

    A price e times as high makes a model count as much less as one standard deviation does.
    """
    if not price or not any(others.values()):
        return np.full(len(others), 1 / len(others))
    apart = np.array([np.log(other / price) if other else np.inf for other in others.values()])
    near = np.exp((np.square(apart).min() - np.square(apart)) / 2)
    found: NDArray[np.float64] = near / near.sum()
    return found


def by_domain(left: NDArray[np.float64], domains: Sequence[str], named: Sequence[str]) -> NDArray[np.float64]:
    """How much better a newcomer is in each domain than its mixture, [d], by its scores less the mixture's, [k].

    Few questions of a domain count for little, so that a specialist shows by evidence.
    """
    found = np.zeros(len(named))
    for place, name in enumerate(named):
        own = left[np.array([domain == name for domain in domains], bool)]
        found[place] = own.sum() / (len(own) + _DOMAIN_TRUST)
    return found


def introduced(artefact: Artefact, name: str, mixture: NDArray[np.float64], better: NDArray[np.float64]) -> Artefact:
    """The artefact with one more model, of `weights` and of what it is better by in each domain; nothing is promised.

    Raises:
        ValueError: a model of that name was fitted.
    """
    models = artefact.facts.models
    if name in models:
        raise ValueError(f"newcomer: got {name!r}, expected a model that is not among the fitted {', '.join(models)}")
    ensemble, rows, count = artefact.ensemble, len(artefact.calibration_losses), len(models)
    default, blend = models.index(artefact.facts.default_model), artefact.ensemble.blend
    quality = blend[:, :count] @ mixture[:-2]
    quality[0] += mixture[-2]
    harm = blend[:, count:] @ mixture[:-2] + blend[:, default] * mixture[-1]  # who is never right, where the default is
    if len(better):
        quality[-len(better) :] += better
        harm[-len(better) :] -= better * ensemble.offset[default]
    unknown = np.full(rows, np.nan, np.float32)
    certainty, agreements = (
        known if known is None else np.column_stack([known, unknown])
        for known in (artefact.calibration_mean_logprobs, artefact.calibration_agreements)
    )
    mixed = np.insert(blend, [count, 2 * count], np.column_stack([quality, harm]), axis=1)
    return replace(
        artefact,
        facts=replace(artefact.facts, models=(*models, name)),
        ensemble=replace(ensemble, blend=np.ascontiguousarray(mixed, np.float32)),
        calibration_losses=np.column_stack([artefact.calibration_losses, np.full(rows, np.inf, np.float32)]),
        calibration_harms=np.column_stack([artefact.calibration_harms, np.zeros(rows, np.bool_)]),
        calibration_mean_logprobs=certainty,
        calibration_agreements=agreements,
    )
