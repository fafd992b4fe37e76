"""Fits a prior on outcomes of any models.

A machine for each body of outcomes learns from them; one small machine repeats what these say: decisions pay for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans

from services.router.kernel import Machine, drawn, fit_machine
from services.router.prior import LEAST_SPREAD, Prior, without_heads

_PENALTY, _LANDMARKS, _COMPONENTS, _STRONGEST = 10.0, 1536, 4, 5  # of the machines that learn from outcomes
_KEPT_PENALTY, _KEPT_LANDMARKS = 0.1, 320  # of the one that is kept
_BATCH = 2048


@dataclass(frozen=True)
class Source:
    """One body of outcomes: embeddings [n, e], lexical features [n, f], scores [n, m] with nan where not asked."""

    embeddings: NDArray[np.float32]
    lexical: NDArray[np.float32]
    scores: NDArray[np.float64]


def fit_prior(sources: Sequence[Source], landmarks: int = _KEPT_LANDMARKS) -> Prior:
    """Fits each source's models by themselves; its heads are their strongest's mean score and main components.

    What they say of all prompts is fitted once more, on at most so many landmarks in the midst of the prompts.
    """
    everything = np.concatenate([source.embeddings for source in sources])
    facts = np.concatenate([source.lexical for source in sources])
    plain = without_heads(everything, facts)
    points = plain.points(plain.projected(everything), facts)
    ends = np.cumsum([len(source.scores) for source in sources])[:-1]
    machines = [_heads(own, source.scores) for own, source in zip(np.split(points, ends), sources, strict=True)]
    said = np.concatenate([machine.predict(points) for machine in machines], axis=1).astype(np.float64)
    spread = said.std(axis=0) + LEAST_SPREAD
    kept = fit_machine(points, said / spread, _KEPT_PENALTY, _midst(points, landmarks))
    coefficients = np.ascontiguousarray(kept.coefficients * spread, np.float32)
    offset = (kept.offset * spread).astype(np.float32)
    return Prior(plain.projection, plain.centre, plain.spread, kept.landmarks, coefficients, offset)


def _midst(points: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """At most so many centres of the points (Zhang, Tsang and Kwok 2008)."""
    if len(points) <= count:
        return points
    found = MiniBatchKMeans(count, batch_size=_BATCH, n_init=1, random_state=0).fit(points)
    return np.asarray(found.cluster_centers_, np.float32)


def _heads(points: NDArray[np.float32], scores: NDArray[np.float64]) -> Machine:
    machine = fit_machine(points, scores, _PENALTY, drawn(points, _LANDMARKS))
    seen = machine.predict(points)
    spread = seen.std(axis=0) + LEAST_SPREAD
    _, _, directions = np.linalg.svd((seen - seen.mean(axis=0)) / spread, full_matrices=False)
    strongest = np.zeros(seen.shape[1], np.float32)
    strongest[np.argsort(np.nanmean(scores, axis=0))[-_STRONGEST:]] = 1 / min(_STRONGEST, seen.shape[1])
    combined = np.concatenate((strongest[None], directions[:_COMPONENTS] / spread)).T.astype(np.float32)
    return Machine(machine.landmarks, machine.coefficients @ combined, machine.offset @ combined)
