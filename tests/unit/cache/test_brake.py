"""The brake: whatever verdicts are missing or turn, no more is answered wrongly than it has room for and lets pass."""

import random
from collections import Counter, deque
from collections.abc import Callable

import numpy as np
import pytest

from services.cache.brake import LEAK, ROOM, Brake, Braked
from services.cache.challenger import VerifierStanding
from services.cache.considered import Action, Considered, Near
from services.cache.decision import MissReason
from services.cache.pair_verifier import Compared, PairVerifier
from services.cache.scope_decision import ScopeDecision
from services.cache.scope_state import pack, unpack
from services.cache.sketch import sketch
from services.cache.warm_up import Lessons
from tests.unit.cache.parts import near

BOUND = 0.01
REQUESTS = 3000
CHANCE = 2 * 24  # wrong answers: two audits' worth that did not happen
PATIENCE = 200  # requests in which the first verdicts may come
TEXT = sketch("How do I top up?")
CHARGE, PRICE = sketch("How much is a transfer charge?"), sketch("How much is a transfer price?")


def replay(
    tell: Callable[[bool], float], wrong_share: float, seed: int, judged: bool = True, takes: int = 0
) -> tuple[int, int]:
    """Served and wrong of a stream of alike prompts; verdicts come with the chance that `tell` gives, and take so many
    requests."""
    rng = random.Random(seed)
    scope, served, wrong = ScopeDecision(0.8, rng.random), 0, 0
    coming: deque[tuple[int, Considered, bool]] = deque()
    for now in range(REQUESTS):
        while coming and coming[0][0] <= now:
            scope.learn(*coming.popleft()[1:])
        scope.risk.begin(BOUND)
        considered = scope.consider(TEXT, near(("How do I top up?", 0.95, 1)), BOUND, judged)
        right = rng.random() >= wrong_share
        if considered.action is Action.SERVE:
            served, wrong = served + 1, wrong + (not right)
        elif judged and rng.random() < tell(right):
            coming.append((now + takes, considered, right))
    return served, wrong


@pytest.mark.parametrize("wrong_share", [0.1, 0.4])
def test_biased_verdicts_stay_within_what_the_brake_lets_pass(wrong_share: float) -> None:
    """Where every right answer is told and hardly any wrong one, wrong answers stay within twice the bound and the
    room; unbraked, a tenth of all requests would be answered wrongly."""
    for seed in range(3):
        served, wrong = replay(lambda right: 1.0 if right else 0.05, wrong_share, seed)
        assert served > ROOM
        assert wrong <= LEAK * BOUND * REQUESTS + ROOM + CHANCE


def test_without_a_judge_serving_stops() -> None:
    """What nobody vouches for is served until the room is full, and then no more often than the bound twice."""
    served, _ = replay(lambda _: 0.0, 0.0, 0, judged=False)
    assert ROOM <= served <= LEAK * BOUND * REQUESTS + ROOM + 1


def test_verdicts_that_never_come_stop_serving() -> None:
    """A judge that never tells is worth no more than none, but for the time in which it may yet."""
    served, _ = replay(lambda _: 0.0, 0.0, 1)
    assert served <= LEAK * BOUND * REQUESTS + 2 * ROOM + PATIENCE


@pytest.mark.parametrize("takes", [0, 60, 600])
def test_complete_verdicts_are_not_braked(takes: int) -> None:
    """A scope whose answers are right and told so serves nearly all, however long the verdicts take."""
    served, _ = replay(lambda _: 1.0, 0.0, 2, takes=takes)
    assert served > 0.75 * REQUESTS


def test_callers_who_compare_nothing_brake_themselves_alone() -> None:
    """What is served to them nobody vouches for; the others are served on."""
    rng = random.Random(0)
    scope = ScopeDecision(0.8, rng.random)
    alike, served = near(("How do I top up?", 0.95, 1)), Counter[bool]()
    for _ in range(REQUESTS):
        judged = rng.random() < 0.8
        scope.risk.begin(BOUND)
        considered = scope.consider(TEXT, alike, BOUND, judged)
        served[judged] += considered.action is Action.SERVE
        if judged and considered.action is not Action.SERVE:
            scope.learn(considered, True)
    assert served[True] > 0.7 * 0.8 * REQUESTS
    assert served[False] <= LEAK * BOUND * REQUESTS + ROOM + 1


class Misled(PairVerifier):
    """Knows the one wording from the other, until they change places."""

    def opinion(self, pair: Compared) -> float:
        return 2.0 if pair.entry is CHARGE else -2.0


def drift(seed: int, bound: float, turn: int, requests: int) -> int:
    """Wrong answers after a won verifier's words all turned wrong."""
    rng, wrong = random.Random(seed), 0
    scope = ScopeDecision(0.8, rng.random)
    scope.warm(Lessons(np.zeros((0, 14)), np.zeros(0), verifier=Misled(np.zeros(8195, np.float32))))
    for number in range(requests):
        scope.risk.begin(bound)
        entry = rng.choice((CHARGE, PRICE))
        right = entry is CHARGE and number < turn
        found = Near([rng.uniform(0.8, 0.95)], [number % 40], [entry].__getitem__)
        considered = scope.consider(sketch("How much is a transfer fee?"), found, bound)
        if considered.action is Action.SERVE:
            wrong += number >= turn and not right
        else:
            scope.learn(considered, right)
        if number == turn - 1:
            assert scope.verifier[0] is VerifierStanding.DECIDES
    return wrong


def test_a_drift_after_a_won_verifier_is_braked() -> None:
    """Where all that it took for the same turns wrong at once, wrong answers stay within the room and what leaks,
    however long it was right before."""
    for seed in range(2):
        assert drift(seed, 0.02, turn=1500, requests=2500) <= LEAK * 0.02 * 1000 + ROOM + CHANCE


def filled(risk_of: ScopeDecision, right: bool | None) -> None:
    """Audits up to the room, with or without their verdicts, for which nobody waits any more."""
    for _ in range(3):
        audit = risk_of.risk.begin_audit(0.04, BOUND)
        if right is not None:
            risk_of.risk.audit(audit, 0.01, 0.04, right)
    late(risk_of.risk.brake)


def late(brake: Brake) -> None:
    """So many requests that no verdict is waited for."""
    for _ in range(PATIENCE + 1):
        brake.allow(0.0)


@pytest.mark.parametrize(
    ("told", "state", "said"),
    [(None, Braked.UNTOLD, "was told right"), (False, Braked.WRONG, "was found wrong"), (True, Braked.OFF, None)],
)
def test_a_brake_says_why_it_is_on(told: bool | None, state: Braked, said: str | None) -> None:
    """It is on for audits without a verdict or found wrong, not for those found right, and every decision says so;
    then all would-be hits are audited, or missed where nobody compares."""
    scope = ScopeDecision(0.8, lambda: 0.99)
    scope.risk.begin(1.0)
    filled(scope, told)
    alike = near(("How do I top up?", 0.95, 1))
    judged, bare = scope.consider(TEXT, alike, BOUND), scope.consider(TEXT, alike, BOUND, judged=False)
    assert scope.risk.brake.state is state
    if said is None:
        assert (judged.action, bare.action) == (Action.SERVE, Action.SERVE)
        return
    assert (judged.action, judged.propensity) == (Action.AUDIT, 1.0)
    assert (bare.action, bare.reason) == (Action.CHECK, MissReason.BRAKED)
    assert said in judged.explanation


def test_it_opens_again_and_outlives_a_restart() -> None:
    """What requests allow leaks away, of both kinds alike; a scope that is read again is as full as it was."""
    brake, scope = Brake(), ScopeDecision(0.8, random.random)
    brake.judged(brake.audited(0.04, BOUND), right=False)
    for _ in range(2):
        brake.audited(0.04, BOUND)
    assert brake.state is Braked.OFF, "verdicts may come yet"
    late(brake)
    assert brake.state is not Braked.OFF
    for _ in range(round(24 / LEAK / BOUND)):
        brake.allow(BOUND)
    assert brake.state is Braked.OFF
    full = brake.buckets[-1]
    assert (full.untold + full.wrong, full.untold / full.wrong) == (pytest.approx(48), pytest.approx(2))
    filled(scope, None)
    again = unpack(pack(scope), 0.8, random.random)
    assert again is not None
    assert again.risk.brake.state is Braked.UNTOLD


def test_orderly_restarts_open_no_brake() -> None:
    """A judge that never tells stops serving, though the scope is written and read again before it is overdue."""
    rng = random.Random(1)
    scope, served = ScopeDecision(0.8, rng.random), 0
    for now in range(REQUESTS):
        if now % (PATIENCE - 20) == 0:
            again = unpack(pack(scope), 0.8, rng.random)
            assert again is not None
            scope = again
        scope.risk.begin(BOUND)
        served += scope.consider(TEXT, near(("How do I top up?", 0.95, 1)), BOUND).action is Action.SERVE
    assert served <= LEAK * BOUND * REQUESTS + 2 * ROOM + PATIENCE


def test_a_verdict_after_a_scope_left_memory_is_for_its_own_audit() -> None:
    """It ends the wait for that audit, and takes nothing out of a bucket in which that one never was."""
    scope = ScopeDecision(0.8, random.random)
    filled(scope, None)
    before = scope.risk.brake.buckets[-1].untold
    waited_for = scope.risk.begin_audit(0.04, BOUND)
    again = unpack(pack(scope), 0.8, random.random)
    assert again is not None
    again.risk.brake.judged(waited_for, right=True)
    late(again.risk.brake)
    assert again.risk.brake.buckets[-1].untold == before


def test_audits_of_one_request_are_told_apart() -> None:
    """Who waited for a twin is no request of its own; one right verdict vouches for one of such audits."""
    brake = Brake()
    first, *_ = (brake.audited(0.04, BOUND) for _ in range(3))
    brake.judged(first, right=True)
    late(brake)
    assert brake.buckets[-1].untold == pytest.approx(2 * 24)


@pytest.mark.parametrize("judged", [False, True])
def test_strict_callers_are_served_nothing_on_what_lax_ones_allow(judged: bool) -> None:
    """Beside callers who allow a half, those who allow 1 % are served as many as by themselves where no verdict comes;
    and the lax ones are served on when the strict are stopped."""

    def served(lax: bool) -> Counter[float]:
        rng = random.Random(0)
        scope, found = ScopeDecision(0.8, rng.random), Counter[float]()
        for _ in range(REQUESTS):
            for bound in (BOUND, 0.5)[: 1 + lax]:
                scope.risk.begin(bound)
                decided = scope.consider(TEXT, near(("How do I top up?", 0.95, 1)), bound, judged)
                found[bound] += decided.action is Action.SERVE
        return found

    alone, beside = served(lax=False), served(lax=True)
    assert beside[BOUND] <= alone[BOUND] + CHANCE
    assert beside[0.5] > 5 * beside[BOUND]
