"""What the verifier that services train does for a scope whose requests are pairs: live, as a challenger from nothing."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.cache.challenger import VerifierStanding
from services.cache.considered import Action, Near
from services.cache.pair_verifier import Compared, PairVerifier, trained
from services.cache.scope_decision import ScopeDecision
from services.cache.sketch import sketch
from services.cache.vetoes import veto
from services.cache.warm_up import Lessons

_MIN_SIMILARITY = 0.8  # the setting's default
_FEATURES = 14

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


def opinions(verifier: PairVerifier, of: Asked) -> tuple[NDArray[np.float64], float]:
    """The verifier's opinions, and microseconds of CPU for each."""
    start = time.process_time()
    found = [verifier.opinion(pair) for pair in of.pairs]
    return np.array(found), (time.process_time() - start) / len(found) * 1e6


def taught(fit: Asked) -> PairVerifier | None:
    """The verifier that a warm-up with these pairs would train."""
    return trained(fit.pairs, fit.same.tolist())


def replayed(of: Asked, verifier: PairVerifier | None, bound: float, seed: int) -> dict[str, float | int | None]:
    """Requests in random order from a cold start; a verdict comes of each that is executed."""
    rng = random.Random(seed)
    scope = ScopeDecision(_MIN_SIMILARITY, rng.random)
    if verifier is not None:
        scope.warm(Lessons(np.zeros((0, _FEATURES)), np.zeros(0), len(of.pairs), verifier))
    hits = wrong = 0
    decides_from = None
    order = rng.sample(range(len(of.pairs)), len(of.pairs))
    for number, place in enumerate(order):
        pair, right = of.pairs[place], bool(of.same[place])
        scope.risk.begin(bound)
        scope.stored(place)
        near = Near(pair.similarity, place, lambda entry=pair.entry: entry)  # type: ignore[misc]
        considered = scope.consider(pair.asked, [near], bound)
        if considered.action is Action.SERVE:
            hits, wrong = hits + 1, wrong + (not right)
        else:
            scope.learn(considered, right)
        if decides_from is None and scope.verifier[0] is VerifierStanding.DECIDES:
            decides_from = number + 1
    shares = {"hits": round(hits / len(order), 4), "wrong_of_all": round(wrong / len(order), 5)}
    return shares | {"decides_from": decides_from}
