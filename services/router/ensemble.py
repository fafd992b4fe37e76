"""Expected outcomes of a prompt: a kernel machine over all that is seen of it, a line, and its domain, averaged.

The machine also says how likely the prompt belongs to each domain; the domain's member weighs what models gave in each
domain by that. So a specialist wins where it has won, whatever it is called. The line is of the words and heads alone:
it errs otherwise than the machine, and adds to its coefficients, so that a decision costs no more.
`services/router/blend.py` bends the mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from services.router.blend import fit_blend, with_ease
from services.router.domains import domain_targets, sharpen
from services.router.kernel import Machine, drawn, fit_machine, left_out
from services.router.prior import LEXICAL_SCALE, Prior, Scale, scale_of, standard

_HEAD_SCALE, _PENALTY, _FOLDS = 0.1, 3.0, 20
_FEW_LANDMARKS, _LANDMARKS = 512, 1024  # half of the prompts within these, or all there are
_LINE_PENALTY, _LINE_SHARE = 12.0, 0.2
_DOMAIN_PENALTY, _LEAST_OF_DOMAIN = 0.3, 5  # prompts that make a domain
NEAREST, _LEAST_SIMILARITY = 20, np.array(1e-30, np.float32)
_CONSTANT = np.array((1, 0, 0), np.float32)  # what `with_ease` sets ease and its square beside


@dataclass(frozen=True)
class Ensemble:
    """Predicts t targets from an embedding and f lexical features, by way of a prior's h heads.

    Args:
        prior: what other outcomes tell.
        centre: float32 [f + h], of lexical features and heads, as is `spread`.
        landmarks: float32 [l, p + f + h].
        coefficients: float32 [l + f + h, t + d]: targets, by machine and line together, then domains.
        offset: float32 [t + d].
        domain_targets: float32 [d, t], its share of each domain's targets less their mean; d may be 0.
        scores: float32 [t], how much each target counts for how easy a prompt is.
        blend: float32 [3 + t + d, u], what is expected in the end, of `services.router.blend.with_ease`.
    """

    prior: Prior
    centre: NDArray[np.float32]
    spread: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    coefficients: NDArray[np.float32]
    offset: NDArray[np.float32]
    domain_targets: NDArray[np.float32]
    scores: NDArray[np.float32]
    blend: NDArray[np.float32]

    @cached_property
    def _machine(self) -> Machine:
        """Says what `services.router.blend.with_ease` expects: 1, twice nothing, then the outputs."""
        coefficients = np.pad(self.coefficients, ((0, 0), (3, 0)))
        return Machine(self.landmarks, coefficients, np.concatenate((_CONSTANT, self.offset)), len(self.centre))

    @cached_property
    def _scale(self) -> Scale:
        return _scale(self.prior, self.centre, self.spread)

    @cached_property
    def _ease(self) -> NDArray[np.float32]:
        """What each of the machine's outputs counts for how easy a prompt is."""
        return np.concatenate((np.zeros(3, np.float32), self.scores, self.domain_targets.dot(self.scores)))

    @cached_property
    def _bend(self) -> NDArray[np.float32]:
        """The blend, with what the domains' member adds to targets."""
        found, domains = self.blend.copy(), len(self.domain_targets)
        found[len(found) - domains :] += self.domain_targets.dot(self.blend[3 : len(found) - domains])
        return found

    def points(self, embeddings: NDArray[np.float32], lexical: NDArray[np.float32]) -> NDArray[np.float32]:
        """Where prompts are among the landmarks, [..., p + f + h]."""
        return _points(self.prior, embeddings, lexical, self._scale)

    def predict(self, embeddings: NDArray[np.float32], lexical: NDArray[np.float32]) -> NDArray[np.float32]:
        """Targets [..., u] of prompts; as in `predict_with_landmarks`."""
        return self.predict_with_landmarks(embeddings, lexical)[0]

    def predict_with_landmarks(
        self, embeddings: NDArray[np.float32], lexical: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Targets [..., u], chances of the domains [..., d], and the similarities to landmarks [..., l]."""
        seen = self._machine.terms(self.points(embeddings, lexical))
        found = self._machine.weighed(seen)
        chances = found[..., len(self.blend) - len(self.domain_targets) :]
        sharpen(chances)
        bent: NDArray[np.float32] = with_ease(found, found.dot(self._ease)).dot(self._bend)
        return bent, chances, seen[..., : len(self.landmarks)]

    def nearness(self, embeddings: NDArray[np.float32], lexical: NDArray[np.float32]) -> NDArray[np.float32]:
        """As the function of that name, of prompts: [...]."""
        return nearness(self._machine.similarities(self.points(embeddings, lexical)))


def nearness(similarities: NDArray[np.float32]) -> NDArray[np.float32]:
    """How near the nearest twenty landmarks are, [...]: their mean logarithm, by the similarities to all, [..., l].

    The space has the words' form and the prior's opinions beside the embedding, so that it tells other tasks apart
    where embeddings do not: school mathematics lies among the prompts of MMLU, but is asked otherwise.
    """
    few = min(NEAREST, similarities.shape[-1])
    nearest = similarities.copy()
    nearest.partition(-few)
    nearest = nearest[..., -few:]
    found: NDArray[np.float32] = np.add.reduce(np.log(np.maximum(nearest, _LEAST_SIMILARITY)), axis=-1) / few
    return found


def fit_ensemble(
    prior: Prior,
    embeddings: NDArray[np.float32],
    lexical: NDArray[np.float32],
    targets: NDArray[np.float64],
    domains: Sequence[str],
    scores: int,
    groups: Sequence[str] | Sequence[int] | None = None,
) -> tuple[Ensemble, Sequence[str]]:
    """Fits t targets [n, t], not a number where unknown, and the domains that have enough prompts, which it names.

    The first `scores` targets are models' scores; `groups` are n labels, equal where prompts ask the same.
    """
    heads = prior.heads(prior.projected(embeddings), lexical)
    centre, spread = standard(np.concatenate((lexical, heads), axis=1))
    points = _points(prior, embeddings, lexical, _scale(prior, centre, spread))
    questions, group = np.unique(np.arange(len(points)) if groups is None else groups, return_inverse=True)
    folds = (np.random.default_rng(0).permutation(len(questions)) % _FOLDS)[group]
    chosen = drawn(points, min(max(_FEW_LANDMARKS, len(points) // 2), _LANDMARKS))
    machine = fit_machine(points, targets, _PENALTY, chosen, len(centre))
    line = fit_machine(points, targets, _LINE_PENALTY, points[:0], len(centre))
    apart = [left_out(machine, points, targets, _PENALTY, folds)]
    named = [name for name in sorted(set(domains) - {""}) if list(domains).count(name) >= _LEAST_OF_DOMAIN]
    named = named if len(named) > 1 else []
    by_domain, placed = np.zeros((0, targets.shape[1]), np.float32), machine.coefficients[:, :0]
    offset = machine.offset
    if named:
        belongs = np.array([[domain == name for name in named] for domain in domains], float)
        placing = fit_machine(points, belongs, _DOMAIN_PENALTY, chosen, len(centre))
        chances = left_out(placing, points, belongs, _DOMAIN_PENALTY, folds).astype(np.float32)
        sharpen(chances)
        by_domain, without = domain_targets(chances, targets, folds)
        apart.append(without)
        placed, offset = placing.coefficients, np.concatenate((offset, placing.offset))
    share = (1 - _LINE_SHARE) / len(apart)
    expected = _LINE_SHARE * left_out(line, points, targets, _LINE_PENALTY, folds) + share * np.sum(apart, axis=0)
    together = share * machine.coefficients
    together[len(chosen) :] += _LINE_SHARE * line.coefficients
    coefficients = np.concatenate((together, placed), axis=1)
    weights = np.where(np.arange(targets.shape[1]) < scores, 1 / max(1, scores), 0).astype(np.float32)
    blend = fit_blend(expected, targets, weights, len(named), len(questions))
    return Ensemble(prior, centre, spread, chosen, coefficients, offset, share * by_domain, weights, blend), named


def _scale(prior: Prior, centre: NDArray[np.float32], spread: NDArray[np.float32]) -> Scale:
    heads = len(prior.offset)
    counts = np.repeat((LEXICAL_SCALE, _HEAD_SCALE), (len(centre) - heads, heads))
    return scale_of(centre, spread, np.sqrt(counts).astype(np.float32))


def _points(
    prior: Prior, embeddings: NDArray[np.float32], lexical: NDArray[np.float32], scale: Scale
) -> NDArray[np.float32]:
    projected = prior.projected(embeddings)
    seen = lexical if not len(prior.offset) else np.concatenate((lexical, prior.heads(projected, lexical)), axis=-1)
    return np.concatenate((projected, scale.of(seen)), axis=-1)
