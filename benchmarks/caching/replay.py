"""Replays traffic through the cache's decision, which sees a request's label only where the request is executed."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.caching.traffic import NEVER, Shelf, Traffic
from services.cache.considered import Action, Considered, Near
from services.cache.decision import MissReason
from services.cache.normalise import normalise
from services.cache.scope_decision import ScopeDecision
from services.cache.warm_up import Lessons

_NEIGHBOURS = 16  # as answer_cache
_MIN_SIMILARITY = 0.8  # the setting's default


@dataclass(frozen=True)
class Step:
    """One request: `action` is exact, serve, audit or miss, `candidate` the place of the entry it is about."""

    place: int
    action: str
    candidate: int | None
    right: bool | None
    doubt: float | None
    propensity: float
    explanation: str

    @property
    def hit(self) -> bool:
        """Whether it was answered from the cache."""
        return self.action in ("exact", "serve")


@dataclass(frozen=True)
class Start:
    """What holds for a replay: the bound, the shares of verdicts that are wrong and that come at all, the warm-up."""

    bound: float
    judge_error: float = 0.0
    judged: float = 1.0
    warm: Lessons | None = None


class Replay:
    """One cold start; after iterating, `scope` tells what it believes of itself."""

    def __init__(self, traffic: Traffic, seed: int, start: Start) -> None:
        self._traffic = traffic
        self._seed = seed
        self._bound, self._judge_error, self._judged = start.bound, start.judge_error, start.judged
        self._chance = random.Random(seed + 1_000_003)
        self.scope = ScopeDecision(_MIN_SIMILARITY, self._chance.random)
        if start.warm is not None:
            self.scope.warm(start.warm)
        self._shelf = Shelf(traffic)
        self._answers: dict[int, int] = {}  # stored place -> place of the entry whose answer it has
        self._first: dict[str, int] = {}  # answer -> place of the first entry with it
        self._exact: dict[str, int] = {}

    def __iter__(self) -> Iterator[Step]:
        for place in self._traffic.order(self._seed):
            yield self._request(place)

    def _request(self, place: int) -> Step:
        traffic = self._traffic
        self.scope.risk.begin(self._bound)
        known = self._exact.get(normalise(traffic.texts[place]))
        if known is not None:
            self.scope.risk.note(0.0)
            return Step(place, "exact", known, traffic.same(known, place), 0.0, 0.0, "the same text")
        near, similarities = self._shelf.nearest(place, _NEIGHBOURS)
        if not near:
            self._store(place, place)
            return Step(place, "miss", None, None, None, 1.0, MissReason.EMPTY.value)
        answers = [self._answers[other] for other in near]
        neighbours = Near(similarities, answers, lambda place: traffic.sketches[near[place]])
        considered = self.scope.consider(traffic.sketches[place], neighbours, self._bound)
        candidate = considered.answer
        right = traffic.same(candidate, place)
        if considered.action is not Action.SERVE:
            self._executed(place, considered, right)
        action = {Action.SERVE: "serve", Action.AUDIT: "audit", Action.CHECK: "miss"}[considered.action]
        doubt, propensity = considered.doubt, considered.propensity
        return Step(place, action, candidate, right, doubt, propensity, considered.explanation)

    def _executed(self, place: int, considered: Considered, right: bool) -> None:
        """The label is seen: the judge compares it with the candidate's, and the answer is stored."""
        verdict = right != (self._chance.random() < self._judge_error)
        told = self._judged == 1 or self._chance.random() < self._judged
        if told:
            self.scope.learn(considered, verdict)
        if told and verdict:
            self._store(place, considered.answer)
            return
        category = self._traffic.categories[place]
        self._store(place, place if category == NEVER else self._first.setdefault(category, place))

    def _store(self, place: int, answer: int) -> None:
        if answer == place and self._traffic.categories[place] != NEVER:
            self._first.setdefault(self._traffic.categories[place], place)
        self._answers[place] = answer
        self._exact[normalise(self._traffic.texts[place])] = place if answer == place else answer
        self.scope.answers.stored(answer)
        self._shelf.add(place)
