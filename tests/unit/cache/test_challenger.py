"""A taught verifier of pairs: it decides nothing until it has won on the scope's own verdicts, then it serves more."""

import random
from collections.abc import Iterator

import numpy as np
import pytest

from services.cache.challenger import VerifierStanding
from services.cache.considered import Action, Near
from services.cache.pair_verifier import Compared, PairVerifier, trained
from services.cache.scope_decision import ScopeDecision
from services.cache.scope_state import pack, unpack
from services.cache.sketch import Sketch, sketch
from services.cache.vetoes import Veto, veto
from services.cache.warm_up import Example, Lessons, Nearby, lessons
from services.chassis.errors import FailedPrecondition
from tests.unit.cache import parts

BOUND = 0.02
ASKED = sketch("How much is a transfer fee?")
SAME = [sketch(f"How much is a transfer {word}?") for word in ("charge", "cost", "price")]
OTHER = [sketch(f"How much is a transfer {word}?") for word in ("limit", "refund", "bonus")]
NO_LESSONS = np.zeros((0, 14)), np.zeros(0)


def asks(rng: random.Random) -> tuple[Near, bool]:
    """A neighbour whose similarity says nothing and whose words say nearly all, and whether its answer is right."""
    same = rng.random() < 0.6
    entry = rng.choice(SAME if same else OTHER)
    return Near([rng.uniform(0.8, 0.95)], [0], lambda _: entry), same != (rng.random() < 0.005)


def verifier(rng: random.Random, *, knows: bool = True) -> PairVerifier:
    """One trained on the same wordings, or on them with labels that are drawn."""
    pairs, same = [], []
    for _ in range(600):
        near, right = asks(rng)
        entry = near.sketch(0)
        pairs.append(Compared(ASKED, entry, near.similarities[0], veto(ASKED, entry)))
        same.append(right if knows else rng.random() < 0.5)
    found = trained(pairs, same)
    assert found is not None
    return found


def served(scope: ScopeDecision, seed: int, requests: int) -> Iterator[tuple[bool, bool]]:
    """Requests one after another, each with its verdict where it is executed: whether it was served, and wrongly."""
    rng = random.Random(seed)
    for _ in range(requests):
        scope.risk.begin(BOUND)
        near, right = asks(rng)
        considered = scope.consider(ASKED, near, BOUND)
        yield considered.action is Action.SERVE, considered.action is Action.SERVE and not right
        if considered.action is not Action.SERVE:
            scope.learn(considered, right)


def scope_of(seed: int, taught: PairVerifier | None) -> ScopeDecision:
    scope = ScopeDecision(0.8, random.Random(seed).random)
    if taught is not None:
        scope.warm(Lessons(*NO_LESSONS, verifier=taught))
    return scope


def test_a_verifier_that_knows_wins_and_serves_more_within_the_bound() -> None:
    """Decisions are those of a scope without it until it leads; then it serves what similarity could not tell apart."""
    taught, plain = scope_of(1, verifier(random.Random(3))), scope_of(1, None)
    with_it, without = served(taught, 5, 3000), served(plain, 5, 3000)
    hits = wrong = former = led_from = 0
    for number, (mine, its) in enumerate(zip(with_it, without, strict=True)):
        if taught.verifier[0] is not VerifierStanding.DECIDES and not led_from:
            assert mine == its
            continue
        led_from = led_from or number
        hits, wrong, former = hits + mine[0], wrong + mine[1], former + its[0]
    assert 150 < led_from < 1500
    assert hits > 0.3 * (3000 - led_from) > 5 * former
    assert wrong <= BOUND * 3000


def test_verifiers_that_know_nothing_do_not_lead() -> None:
    """Trained on labels that are drawn, at most 5 % of them ever lead a scope."""
    led = 0
    for seed in range(40):
        scope = scope_of(seed, verifier(random.Random(seed), knows=False))
        for _ in served(scope, seed + 100, 500):
            if scope.verifier[0] is VerifierStanding.DECIDES:
                led += 1
                break
    assert led <= 0.05 * 40


def test_a_scope_that_has_learnt_may_be_taught_a_verifier_alone() -> None:
    """The scope's evidence stays; without enough pairs for a verifier the lessons are refused."""
    scope = scope_of(2, None)
    list(served(scope, 2, 400))
    counted, chances = scope.scorer.count, scope.scorer.probability([0.1] * 14)
    with pytest.raises(FailedPrecondition, match="enough to train a verifier"):
        scope.warm(Lessons(np.ones((60, 14)), np.ones(60)))
    scope.warm(Lessons(np.ones((60, 14)), np.ones(60), verifier=verifier(random.Random(3))))
    assert (scope.scorer.count, scope.scorer.probability([0.1] * 14)) == (counted, chances)
    standings = [scope.verifier[0] for _ in served(scope, 4, 1500)]
    assert (standings[0], standings[-1]) == (VerifierStanding.CHALLENGES, VerifierStanding.DECIDES)


def test_where_it_stands_outlives_a_restart() -> None:
    """Verifier, opinions and contest are packed: what comes back doubts alike and goes on from the same stake."""
    scope = scope_of(1, verifier(random.Random(3)))
    list(served(scope, 5, 1500))
    again = unpack(pack(scope), 0.8, random.Random(1).random)
    assert again is not None
    assert again.verifier == scope.verifier
    assert again.verifier[0] is VerifierStanding.DECIDES
    near = Near([0.9], [0], lambda _: SAME[0])
    mine, its = (one.consider(ASKED, near, BOUND) for one in (scope, again))
    assert its.doubt == pytest.approx(mine.doubt, abs=0.02)
    assert "by the verifier of pairs" in its.explanation


@pytest.mark.parametrize("knows", [True, False])
def test_a_second_warm_up_leaves_a_leader_in_its_place(knows: bool) -> None:
    """What a warm-up trains must win against the verifier that leads, also over a restart; until then that one decides,
    as if there had been no other. A leader that knows nothing gives way to one that knows."""
    scope, alone = (scope_of(1, verifier(random.Random(3))) for _ in range(2))
    for one in (scope, alone):
        list(served(one, 5, 1500))
    leader = scope.challenger
    assert leader is not None
    if knows:
        leader.verifier = verifier(random.Random(4), knows=False)
    taught = verifier(random.Random(5), knows=knows)
    scope.warm(Lessons(*NO_LESSONS, verifier=taught))
    assert scope.challenger is leader
    if not knows:
        assert list(served(scope, 6, 800)) == list(served(alone, 6, 800))
    again = unpack(pack(scope), 0.8, random.Random(1).random)
    assert again is not None
    assert again.challenger is not None
    assert again.challenger.successor is not None
    list(served(again, 7, 2500))
    assert again.verifier[0] is VerifierStanding.DECIDES
    assert (again.challenger.verifier.weights == taught.weights).all() == knows


def test_a_warm_up_without_pairs_leaves_a_leader_in_its_place() -> None:
    """Lessons that train no verifier take none away; a challenger that does not lead is dropped with its lessons."""
    scope = scope_of(1, verifier(random.Random(3)))
    scope.warm(Lessons(*NO_LESSONS))
    assert scope.verifier[0] is VerifierStanding.NONE


def test_other_numbers_and_negations_are_not_for_a_verifier_to_allow() -> None:
    """Where it decides, it weighs words itself, but a candidate with another number or negation is still vetoed."""
    scope = scope_of(1, verifier(random.Random(3)))
    list(served(scope, 5, 3000))
    assert scope.verifier[0] is VerifierStanding.DECIDES
    for asked, entry in (("How much is transfer 1?", "How much is transfer 2?"), ("Is it a fee?", "Is it not a fee?")):
        assert scope.consider(sketch(asked), parts.near((entry, 0.95, 0)), BOUND).action is Action.CHECK
    stand = {against for against in Veto if scope._stands(against, parts.near((entry, 0.95, 0)))}
    assert stand == {Veto.NUMBERS, Veto.NEGATION, Veto.TEXT}


def test_a_damaged_verifier_is_not_taken() -> None:
    """Weights of another shape, as another release may have packed them, have the scope start anew."""
    with pytest.raises(ValueError, match="shape"):
        PairVerifier(np.zeros(10, np.float32))


def test_few_pairs_or_one_kind_train_none() -> None:
    """A verifier takes 200 pairs, right ones and wrong ones."""
    pair = Compared(ASKED, SAME[0], 0.9, None)
    assert trained([pair] * 199, [True, False] * 99 + [True]) is None
    assert trained([pair] * 300, [True] * 300) is None


def test_an_opinion_does_not_depend_on_which_prompt_came_first() -> None:
    """Two prompts may share an answer, or not, whichever was asked first."""
    taught = verifier(random.Random(1))

    def opinion(one: Sketch, other: Sketch) -> float:
        return taught.opinion(Compared(one, other, 0.9, veto(one, other)))

    assert opinion(ASKED, SAME[0]) == pytest.approx(opinion(SAME[0], ASKED))
    assert opinion(ASKED, SAME[0]) > 0 > opinion(ASKED, OTHER[0])


def test_a_warm_up_trains_one_on_neighbours_of_which_it_is_known() -> None:
    """Near texts with a verdict are pairs; what nobody knows teaches nothing."""
    examples = [Example("How much is a transfer fee?", 0, ())]
    for number in range(300):
        same = number % 2 == 0
        text = f"How much is a transfer {'charge' if same else 'limit'}, {number}?"
        examples.append(Example(text, 0 if same else 1, (Nearby(0, 0.9, same), Nearby(0, 0.9, None))))
    found = lessons(examples)
    assert found.pairs == 300
    assert found.verifier is not None
