"""What the verifier that a warm-up trains does for a scope whose requests are pairs, as a challenger from nothing."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from services.cache.challenger import VerifierStanding
from services.cache.considered import Action, Near
from services.cache.evidence import NAMES
from services.cache.pair_verifier import Compared, PairVerifier, trained
from services.cache.scope_decision import ScopeDecision
from services.cache.sketch import Sketch, sketch
from services.cache.vetoes import veto
from services.cache.warm_up import Lessons

_MIN_SIMILARITY = 0.8  # the setting's default
_SEEDS = 3

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Asked:
    """Pairs as a scope's requests: one text is asked, the other is the only entry near."""

    pairs: Sequence[Compared]
    same: Flags


def asked(pairs: Sequence[tuple[str, str]], cosines: NDArray[np.float32], same: Flags) -> Asked:
    """Pairs as the scope sees them."""
    found = []
    for (one, other), similarity in zip(pairs, cosines.tolist(), strict=True):
        first, second = sketch(one), sketch(other)
        found.append(Compared(first, second, similarity, veto(first, second)))
    return Asked(found, same)


def in_a_scope(fit: Asked, test: Asked, bound: float) -> dict[str, object]:
    """Shares of a scope's requests with a verifier of the pairs to fit and without, means over seeds; CPU of a pair."""
    verifier = trained(fit.pairs, fit.same.tolist())
    if verifier is None:
        return {}
    start = time.process_time()
    for pair in test.pairs:
        verifier.opinion(pair)
    spent = (time.process_time() - start) / len(test.pairs)
    return {
        "verifier": _means([_replayed(test, verifier, bound, seed) for seed in range(_SEEDS)]),
        "without": _means([_replayed(test, None, bound, seed) for seed in range(_SEEDS)]),
        "cpu_us": round(spent * 1e6, 1),
    }


def _replayed(of: Asked, verifier: PairVerifier | None, bound: float, seed: int) -> tuple[float, float, float]:
    """Hits, wrong ones, both of all, and the share of requests that the verifier decided.

    Requests come in random order to a cold start; a verdict comes of each that is executed.
    """
    rng = random.Random(seed)
    scope = ScopeDecision(_MIN_SIMILARITY, rng.random)
    if verifier is not None:
        scope.warm(Lessons(np.zeros((0, len(NAMES))), np.zeros(0), len(of.pairs), verifier))
    hits = wrong = decided = 0
    for place in rng.sample(range(len(of.pairs)), len(of.pairs)):
        pair, right = of.pairs[place], bool(of.same[place])
        scope.risk.begin(bound)
        scope.answers.stored(place)
        near = Near([pair.similarity], [place], partial(_entry, pair))
        considered = scope.consider(pair.asked, near, bound)
        decided += scope.verifier[0] is VerifierStanding.DECIDES
        if considered.action is Action.SERVE:
            hits, wrong = hits + 1, wrong + (not right)
        else:
            scope.learn(considered, right)
    return hits / len(of.pairs), wrong / len(of.pairs), decided / len(of.pairs)


def _means(found: Sequence[tuple[float, float, float]]) -> dict[str, float]:
    names = "hits", "wrong_of_all", "decided_by_verifier"
    return {name: round(float(value), 4) for name, value in zip(names, np.mean(found, 0), strict=True)}


def _entry(pair: Compared, _: int) -> Sketch:
    return pair.entry
