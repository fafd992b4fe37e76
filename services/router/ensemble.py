"""Expected outcomes of a prompt: a kernel machine over all that is seen of it, and what its domain says, averaged.

The machine also says how likely the prompt belongs to each domain; the domain's member weighs what models gave in each
domain by that. So a specialist wins where it has won, whatever it is called.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from services.router.kernel import Machine, fit_machine
from services.router.prior import LEXICAL_SCALE, Prior, scaled, standard

_HEAD_SCALE, _PENALTY, _LANDMARKS = 0.1, 6.0, 1024
_DOMAIN_PENALTY, _DOMAIN_RIDGE, _LEAST_CHANCE, _SHARPNESS = 0.3, 15.0, 1e-3, 1.5
_LEAST_OF_DOMAIN = 5  # prompts that make a domain


@dataclass(frozen=True)
class Ensemble:
    """Predicts t targets from an embedding and f lexical features, by way of a prior's h heads.

    Args:
        prior: what other outcomes tell.
        centre: float32 [f + h], of lexical features and heads, as is `spread`.
        landmarks: float32 [l, p + f + h].
        coefficients: float32 [l, t + d]: targets, then domains.
        offset: float32 [t + d].
        domain_targets: float32 [d, t], each domain's targets less their mean; d may be 0.
    """

    prior: Prior
    centre: NDArray[np.float32]
    spread: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    coefficients: NDArray[np.float32]
    offset: NDArray[np.float32]
    domain_targets: NDArray[np.float32]

    @cached_property
    def _machine(self) -> Machine:
        return Machine(self.landmarks, self.coefficients, self.offset)

    @cached_property
    def _scales(self) -> NDArray[np.float32]:
        heads = len(self.prior.offset)
        return _scales(len(self.centre) - heads, heads)

    def predict(self, embeddings: NDArray[np.float32], lexical: NDArray[np.float32]) -> NDArray[np.float32]:
        """Targets [..., t] of prompts; evidence as in `predict_with_evidence`."""
        return self.predict_with_evidence(embeddings, lexical)[0]

    def predict_with_evidence(
        self, embeddings: NDArray[np.float32], lexical: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Targets [..., t], chances of the domains [..., d], and the sum of similarities to landmarks [...]."""
        points = _points(self.prior, embeddings, lexical, self.centre, self.spread, self._scales)
        similar = self._machine.similarities(points)
        found = similar @ self.coefficients + self.offset
        targets = self.domain_targets.shape[1]
        chances = _chances(found[..., targets:])
        expected: NDArray[np.float32] = found[..., :targets]
        if len(self.domain_targets):
            by_domain: NDArray[np.float32] = self.offset[:targets] + chances @ self.domain_targets
            expected = np.float32(0.5) * (expected + by_domain)
        return expected, chances, similar.sum(axis=-1)


def fit_ensemble(
    prior: Prior,
    embeddings: NDArray[np.float32],
    lexical: NDArray[np.float32],
    targets: NDArray[np.float64],
    domains: Sequence[str],
    landmarks: int = _LANDMARKS,
) -> tuple[Ensemble, Sequence[str]]:
    """Fits t targets [n, t], not a number where unknown, and the domains that have enough prompts, which it names."""
    heads = prior.heads(prior.projected(embeddings), lexical)
    centre, spread = standard(np.concatenate((lexical, heads), axis=1))
    points = _points(prior, embeddings, lexical, centre, spread, _scales(lexical.shape[1], heads.shape[1]))
    machine = fit_machine(points, targets, _PENALTY, landmarks, seed=0).machine
    named = [name for name in sorted(set(domains) - {""}) if list(domains).count(name) >= _LEAST_OF_DOMAIN]
    named = named if len(named) > 1 else []
    belongs = np.array([[domain == name for name in named] for domain in domains], float)
    by_domain = np.zeros((0, targets.shape[1]), np.float32)
    if named:
        placed = fit_machine(points, belongs, _DOMAIN_PENALTY, landmarks, seed=0)
        by_domain = _domain_targets(_chances(placed.left_out), targets)
        machine = Machine(
            machine.landmarks,
            np.concatenate((machine.coefficients, placed.machine.coefficients), axis=1),
            np.concatenate((machine.offset, placed.machine.offset)),
        )
    fitted = (machine.landmarks, machine.coefficients, machine.offset)
    return Ensemble(prior, centre, spread, *fitted, by_domain), named


def _scales(lexical: int, heads: int) -> NDArray[np.float32]:
    found: NDArray[np.float32] = np.sqrt(np.repeat((LEXICAL_SCALE, _HEAD_SCALE), (lexical, heads))).astype(np.float32)
    return found


def _points(
    prior: Prior,
    embeddings: NDArray[np.float32],
    lexical: NDArray[np.float32],
    centre: NDArray[np.float32],
    spread: NDArray[np.float32],
    scales: NDArray[np.float32],
) -> NDArray[np.float32]:
    projected = prior.projected(embeddings)
    seen = lexical if not len(prior.offset) else np.concatenate((lexical, prior.heads(projected, lexical)), axis=-1)
    return np.concatenate((projected, scaled(seen, centre, spread, 1.0) * scales), axis=-1)


def _chances(raw: NDArray[np.floating]) -> NDArray[np.float32]:
    """What the machine says of domains [..., d], as chances that sum to one."""
    sharp = np.maximum(raw, _LEAST_CHANCE) ** _SHARPNESS
    found: NDArray[np.float32] = (sharp / np.maximum(sharp.sum(axis=-1, keepdims=True), _LEAST_CHANCE)).astype(
        np.float32
    )
    return found


def _domain_targets(chances: NDArray[np.float32], targets: NDArray[np.float64]) -> NDArray[np.float32]:
    """Each domain's targets less their mean [d, t], by ridge regression on the chances of each row [n, d]."""
    found = np.zeros((chances.shape[1], targets.shape[1]), np.float32)
    for column, values in enumerate(targets.T):
        seen = np.isfinite(values)
        if seen.any():
            rows = chances[seen].astype(np.float64)
            gram = rows.T @ rows + _DOMAIN_RIDGE * np.eye(rows.shape[1])
            found[:, column] = np.linalg.solve(gram, rows.T @ (values[seen] - values[seen].mean()))
    return found
