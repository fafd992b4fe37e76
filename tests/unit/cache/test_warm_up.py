"""A warmed scope: what a warm-up teaches, when it decides, and that a wrong one breaks no promise."""

import random
from pathlib import Path

import numpy as np
import pytest

from services.cache.considered import Action
from services.cache.risk_controller import RiskController
from services.cache.scope_decision import ScopeDecision
from services.cache.scope_state import pack, unpack
from services.cache.sketch import sketch
from services.cache.warm_up import Example, Lessons, Nearby, lessons
from services.chassis.errors import FailedPrecondition
from tests.unit.cache.parts import DIGEST, near, opened

ASKED, OTHERWISE, ELSE = "How do I top up my card?", "Topping up the card, in which way", "Is the app free?"
BOUND = 0.01


def similar(rng: random.Random) -> tuple[float, float]:
    """The two similarities of a prompt's neighbours."""
    nearest = rng.uniform(0.4, 1.0)
    return nearest, nearest - rng.uniform(0, 0.3)


def log_of(texts: int, right_from: float) -> Lessons:
    """Lessons of a log in which the nearer neighbour is right from a similarity on."""
    rng = random.Random(1)
    examples = [Example(OTHERWISE, 0, ()), Example(ELSE, 1, ())]
    for _ in range(texts):
        first, second = similar(rng)
        same = (first >= right_from) != (rng.random() < 0.03)
        examples.append(Example(ASKED, 0 if same else 1, (Nearby(0, first, same), Nearby(1, second, not same))))
    return lessons(examples)


def turned(found: Lessons) -> Lessons:
    return Lessons(found.rows, 1 - found.right)


def asked(scope: ScopeDecision, rng: random.Random, right_from: float, judged: float) -> tuple[bool, bool]:
    """One request, whose verdict comes with probability `judged`; whether it was served, and wrongly."""
    scope.risk.begin(BOUND)
    first, second = similar(rng)
    others = near((OTHERWISE, first, 0), (ELSE, second, 1))
    considered = scope.consider(sketch(ASKED), others, BOUND)
    right = (first >= right_from) != (rng.random() < 0.03)
    if considered.action is Action.SERVE:
        return True, not right
    if rng.random() < judged:
        scope.learn(considered, right)
    return False, False


def served(warm: Lessons | None, right_from: float, requests: int = 3000) -> tuple[int, int, ScopeDecision]:
    rng = random.Random(7)
    scope = ScopeDecision(0.8, rng.random)
    if warm is not None:
        scope.warm(warm)
    outcomes = [asked(scope, rng, right_from, judged=0.05) for _ in range(requests)]
    return sum(hit for hit, _ in outcomes), sum(wrong for _, wrong in outcomes), scope


def test_a_lesson_is_learnt_where_the_favoured_answer_is_known() -> None:
    """An unknown pair teaches nothing; a known one gives the features that a lookup would weigh."""
    known = Example(ASKED, 0, (Nearby(0, 0.9, True),))
    unknown = Example(ASKED, 1, (Nearby(0, 0.9, None),))
    found = lessons([Example(OTHERWISE, 0, ()), known, unknown])
    assert found.right.tolist() == [1.0]
    assert found.rows.shape == (1, 14)
    assert found.rows[0, 1] == pytest.approx(4 * (0.9 - 0.75))


def test_a_warmed_scope_hits_more_where_verdicts_are_rare() -> None:
    """With a verdict on every twentieth request, a fitting warm-up serves more and keeps the bound."""
    cold, _, _ = served(None, 0.7)
    warm, wrong, scope = served(log_of(600, 0.7), 0.7)
    assert warm > 1.2 * cold
    assert wrong <= BOUND * 3000
    assert scope.warmth.leads


def test_a_warm_up_that_teaches_the_opposite_decides_nothing() -> None:
    """Labels turned round foresee no verdict: the scope stays with its rule, then its own scorer, and its bound."""
    _, wrong, scope = served(turned(log_of(600, 0.7)), 0.7, requests=6000)
    assert not scope.warmth.leads
    assert not scope.scorer.warmed
    assert wrong <= BOUND * 6000


def test_nothing_taught_is_on_the_books() -> None:
    """A warm-up leaves requests, audits, the certificate and the vetoes' trials as they are."""
    scope = ScopeDecision(0.8, lambda: 0.99)
    scope.warm(log_of(600, 0.7))
    fresh = RiskController()
    assert (scope.risk.audits, scope.risk.requests, scope.risk.allowance) == (0, 0, 0.0)
    assert scope.risk.certificate.penalties == fresh.certificate.penalties
    assert scope.risk.correction == fresh.correction
    assert (scope.scorer.count, scope.trials.counts, scope.answers.records) == (0, {}, {})
    assert not scope.learnt


def test_what_was_taught_outlives_a_restart() -> None:
    """Labels and the state of their trial are packed; what an earlier release packed has none."""
    _, _, scope = served(log_of(600, 0.7), 0.7, requests=900)
    again = unpack(pack(scope), 0.8, lambda: 0.99)
    assert again is not None
    assert again.warmth.state == scope.warmth.state
    np.testing.assert_allclose(again.scorer.warm_rows, scope.scorer.warm_rows, rtol=1e-6)
    features = [1.0, *[0.1] * 13]
    assert again.scorer.probability(features) == pytest.approx(scope.scorer.probability(features), abs=0.01)


def test_similarities_of_another_encoder_than_the_settings_teach_nothing(tmp_path: Path) -> None:
    """Where the settings name an encoder, no other one's will ever be asked about."""
    with opened(tmp_path, encoder_digest=DIGEST) as cache:
        with pytest.raises(FailedPrecondition, match="encoder_digest"):
            cache.warm_up("acme", "cd" * 32, log_of(600, 0.7))
        cache.warm_up("acme", DIGEST, log_of(600, 0.7))


def test_a_scope_that_has_learnt_is_not_warmed_up() -> None:
    """Its own verdicts are worth more than any file too small for a verifier; the error tells how many there are."""
    scope, rng = ScopeDecision(0.8, lambda: 0.99), random.Random(3)
    for _ in range(300):
        asked(scope, rng, 0.7, judged=1.0)
    with pytest.raises(FailedPrecondition, match="verdicts of its own"):
        scope.warm(log_of(60, 0.7))
