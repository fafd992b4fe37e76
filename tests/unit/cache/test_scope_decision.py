"""One scope's decision: safe while new, learning from verdicts, and honest about what it promises."""

import random
from collections.abc import Callable

import pytest

from services.cache.certificate import Certificate
from services.cache.considered import Action
from services.cache.decision import MEASURED_WRONG_SHARE, MissReason, precision
from services.cache.risk_controller import RiskController
from services.cache.scope_decision import ScopeDecision
from services.cache.sketch import sketch
from services.cache.veto_trials import VetoTrials
from services.cache.vetoes import Veto, veto
from tests.unit.cache.parts import near

ASKED = "How do I top up my card?"
OTHERWISE = "Topping up the card, what must I do"


def scope(chance: Callable[[], float] = lambda: 0.99) -> ScopeDecision:
    return ScopeDecision(0.8, chance)


def teach(decision: ScopeDecision, rounds: int, right_from: float, seed: int = 0) -> None:
    """Verdicts on vetoed candidates that are right from a similarity on."""
    rng = random.Random(seed)
    for _ in range(rounds):
        decision.risk.begin(0.01)
        similarity = rng.uniform(0.5, 1.0)
        others = [(OTHERWISE, similarity, 1), ("Is the app free?", similarity - rng.uniform(0, 0.3), 2)]
        considered = decision.consider(sketch(ASKED), near(*others), 0.01)
        if considered.action is not Action.SERVE:
            decision.learn(considered, similarity >= right_from)


def test_a_new_scope_serves_only_what_no_veto_speaks_against() -> None:
    """From the least similarity on, a prompt of the same words is served and one of other words is not."""
    same = scope().consider(sketch(ASKED), near(("Please, how do I top up my card?", 0.93, 1)), 0.01)
    other = scope().consider(sketch(ASKED), near((OTHERWISE, 0.99, 1)), 0.01)
    far = scope().consider(sketch(ASKED), near((ASKED, 0.79, 1)), 0.01)
    assert (same.action, same.reason) == (Action.SERVE, None)
    assert (other.action, other.reason) == (Action.CHECK, MissReason.VETOED)
    assert (far.action, far.reason) == (Action.CHECK, MissReason.NOT_NEAR)
    assert other.explanation == "nearest 0.990, but it asks something else"


def test_a_would_be_hit_is_sometimes_audited() -> None:
    """Where chance falls below the propensity, the answer is not served but checked."""
    audited = scope(lambda: 0.0).consider(sketch(ASKED), near((ASKED, 0.9, 1)), 0.01)
    assert audited.action is Action.AUDIT
    assert 0 < audited.propensity < 1


@pytest.mark.parametrize("bound", [0.0, MEASURED_WRONG_SHARE / 2])
def test_a_bound_below_what_was_measured_serves_nothing(bound: float) -> None:
    """A new scope does not promise less than its rule was measured to get wrong."""
    assert scope().consider(sketch(ASKED), near((ASKED, 1.0, 1)), bound).action is Action.CHECK


def test_a_vetoed_neighbour_hides_no_right_one() -> None:
    """Where a veto stands against the favourite, a similar neighbour without one is served."""
    france, greece = ("Name the capital of France.", 0.9, 1), ("What is the capital of Greece?", 0.95, 2)
    served = scope().consider(sketch("What is the capital of France?"), near(greece, france), 0.01)
    assert (served.action, served.place) == (Action.SERVE, 1)
    assert served.doubt == pytest.approx(1 - precision(0.9))


def test_verdicts_lift_the_veto_and_teach_the_threshold() -> None:
    """After enough verdicts of its own, a scope serves other wordings where they were right and not where wrong."""
    learnt = scope()
    teach(learnt, 1500, right_from=0.7)
    sure = learnt.consider(sketch(ASKED), near((OTHERWISE, 0.98, 1), ("Is the app free?", 0.5, 2)), 0.01)
    unsure = learnt.consider(sketch(ASKED), near((OTHERWISE, 0.6, 1), ("Is the app free?", 0.59, 2)), 0.01)
    assert sure.action is Action.SERVE
    assert unsure.action is Action.CHECK
    assert "wrong with probability" in unsure.explanation


def test_a_scope_where_near_prompts_are_wrong_serves_nothing() -> None:
    """Verdicts against the candidates keep similarity alone from serving."""
    wary = scope()
    teach(wary, 800, right_from=2.0)
    assert wary.risk.served == 0


def test_a_veto_falls_by_its_own_kind_and_returns() -> None:
    """Thirty right verdicts lift one kind of veto in one partition, not another, and wrong ones put it back."""
    trials = VetoTrials()
    for _ in range(29):
        trials.judged(b"one", Veto.WORDS, True)
    assert not trials.lifted(b"one", Veto.WORDS)
    trials.judged(b"one", Veto.WORDS, True)
    assert trials.lifted(b"one", Veto.WORDS)
    assert not trials.lifted(b"one", Veto.NUMBERS)
    assert not trials.lifted(b"other", Veto.WORDS)
    for _ in range(3):
        trials.judged(b"one", Veto.WORDS, False)
    assert not trials.lifted(b"one", Veto.WORDS)


def test_trials_are_bounded() -> None:
    """A tenant with a partition for each request keeps the trials of those that were judged last."""
    trials = VetoTrials()
    for number in range(1000):
        for _ in range(30):
            trials.judged(number.to_bytes(2), Veto.WORDS, True)
        trials.judged(b"used", Veto.WORDS, True)
    assert len(trials.counts) < 300
    assert trials.lifted(b"used", Veto.WORDS)
    assert not trials.lifted((0).to_bytes(2), Veto.WORDS)


def test_names_are_told_from_other_words() -> None:
    """Another name is a veto of its own kind, so that trials on wordings do not lift it."""
    assert veto(sketch("Who leads France today?"), sketch("Who leads Greece today?")) is Veto.NAMES
    assert veto(sketch("How do I top up?"), sketch("How do I sign up?")) is Veto.WORDS
    assert veto(sketch("Where is Oslo?"), sketch("Where is oslo?")) is None


@pytest.mark.parametrize(("wrong_share", "told"), [(0.01, 1.0), (0.2, 1.0), (0.2, 0.5)])
def test_the_certificate_holds_at_every_moment(wrong_share: float, told: float) -> None:
    """In at most a twentieth of many runs are more wrong answers served at any time than it says, where no audit that
    is wrong gets a verdict, and of those that are right a share."""
    broken = 0
    for seed in range(60):
        rng, certificate, wrong = random.Random(seed), Certificate(0.05), 0
        passed = False
        for number in range(600):
            propensity = rng.choice((0.05, 0.15))
            is_wrong, audited = rng.random() < wrong_share, rng.random() < propensity
            if audited:
                certificate.audited(propensity)
                if not is_wrong and rng.random() < told:
                    certificate.found_right(propensity)
            elif is_wrong:
                wrong += 1
            if number % 10 == 0:
                passed = passed or wrong > certificate.most_wrong()
        broken += passed or wrong > certificate.most_wrong()
    assert broken <= 3


def test_the_certificate_tightens_with_evidence_alone() -> None:
    """It starts at a count that no audit has ruled out; an audit raises it until it is found right."""
    certificate = Certificate(0.05)
    before = certificate.most_wrong()
    certificate.audited(0.05)
    assert before < certificate.most_wrong()
    certificate.found_right(0.05)
    assert certificate.most_wrong() == pytest.approx(before)


def test_a_rule_that_audits_find_wrong_is_stopped() -> None:
    """A new scope whose rule is wrong more often than it was measured to be serves no more than its allowance, though
    few audits get a verdict."""
    rng = random.Random(5)
    scope = ScopeDecision(0.8, rng.random)
    same, wrong = near(("How do I top up?", 0.95, 1)), 0
    for number in range(5000):
        scope.risk.begin(0.01)
        considered = scope.consider(sketch("How do I top up?"), same, 0.01)
        right = rng.random() >= 0.4
        wrong += considered.action is Action.SERVE and not right
        if considered.action is Action.AUDIT and rng.random() < 0.1:
            scope.learn(considered, right)
        assert number > 500 or not scope.learnt
    assert wrong < 0.02 * 5000


def audits(propensity: float) -> RiskController:
    risk = RiskController()
    for _ in range(1000):
        risk.begin(0.01)
        risk.serve(0.01, 0.01)
    for _ in range(5):
        risk.begin_audit(propensity, 0.01)
    return risk


def test_an_audit_weighs_by_the_chance_that_it_had() -> None:
    """An audit that was likely speaks for fewer wrong answers served than one that was not, and a right verdict takes
    back what that very audit weighed."""
    likely, rare, none = audits(0.15), audits(0.04), audits(0.04)
    assert likely.certified < rare.certified
    for risk, propensity in ((likely, 0.15), (none, 0.04)):
        for audit in list(risk.brake._waiting.values()):
            risk.audit(audit, 0.01, propensity, right=True)
    assert likely.certified == pytest.approx(none.certified)
    assert likely.certified < rare.certified


def test_what_nobody_could_have_audited_counts_as_wrong() -> None:
    """Each answer that is served where nobody judges adds one wrong answer to what is certified."""
    risk = audits(0.15)
    before = risk.certified
    for _ in range(50):
        risk.serve(0.01, 0.01, judged=False)
    assert risk.certified == pytest.approx(before + 50 / 1000)


def test_the_rule_for_new_scopes_spends_nobody_elses_allowance() -> None:
    """What callers who allow 1 % were served is held against what they allow, and not against what laxer ones do."""
    risk = RiskController()
    for _ in range(1000):
        risk.begin(0.01)
        risk.begin(0.5)
    for _ in range(219):
        risk.serve(0.05, 0.01)
    assert not risk.overdrawn(0.01)
    for _ in range(2):
        risk.serve(0.05, 0.01)
    assert (risk.overdrawn(0.01), risk.overdrawn(0.5)) == (True, False)
    for _ in range(10_000):
        risk.serve(0.05, 0.5)
    assert (risk.overdrawn(0.01), risk.overdrawn(0.5)) == (True, True)


def test_who_allows_less_is_served_less() -> None:
    """Of two requests with the same doubtful candidate, the one with the lower bound is not served it."""
    risk = RiskController()
    for _ in range(1000):
        risk.begin(0.01)
        risk.note(0.005)
    assert risk.allows(0.004, 0.01)
    assert not risk.allows(0.004, 0.004)
    assert risk.allows(0.0004, 0.004)


@pytest.mark.parametrize(("action", "weight"), [(Action.AUDIT, 5.0), (Action.CHECK, 1.0), (Action.SERVE, 1.0)])
def test_a_verdict_teaches_by_how_it_was_sought(action: Action, weight: float) -> None:
    """One on an audit stands for all the hits that were not audited; a report on an answer served for itself alone."""
    decision = scope()
    considered = decision.consider(sketch(ASKED), near((ASKED, 0.9, 1)), 0.01)
    propensity = 1.0 if action is Action.CHECK else 0.2
    decision.learn(considered._replace(action=action, propensity=propensity), right=False)
    assert decision.scorer.arrays()["weights"].tolist() == [pytest.approx(weight)]


def test_an_alias_takes_every_entry_along() -> None:
    """Entries of an answer that was judged equal to another count as that one's, and it is known until the last
    goes."""
    decision = scope()
    for answer in (7, 7, 7, 9):
        decision.answers.stored(answer)
    decision.answers.records[9].right, decision.answers.records[7].right = 50, 1
    decision.answers.alias(7, of=9)
    assert (decision.answers.records[9].entries, decision.answers.records[9].right) == (4, 51)
    for _ in range(3):
        decision.answers.removed(7)
    assert decision.answers.records[9].right == 51
    decision.answers.removed(9)
    assert not decision.answers.records


def test_an_explanation_says_what_decided() -> None:
    """A veto is told only of what is near, and a bound that is too low as such."""
    far = scope().consider(sketch(ASKED), near(("What is 5 plus 5?", 0.16, 1)), 0.01)
    low = scope().consider(sketch(ASKED), near((ASKED, 0.99, 1)), MEASURED_WRONG_SHARE / 2)
    assert far.explanation == "nearest 0.160, served from 0.800"
    assert low.explanation.startswith("nearest 0.990, but a new scope promises no less than")


def test_risk_is_planned_within_the_allowance() -> None:
    """What is served is estimated to be wrong in no more than the bound, whatever the stream offers."""
    risk, rng = RiskController(), random.Random(1)
    for _ in range(4000):
        risk.begin(0.01)
        doubt = rng.random() ** 4
        risk.note(doubt)
        if risk.allows(doubt, 0.01):
            risk.serve(doubt, 0.01)
    assert 0.005 < risk.realised <= 0.01
    assert risk.served > 0
    assert risk.certified * risk.requests <= risk.served


def test_wrong_audits_lower_the_risk_that_is_taken() -> None:
    """Audits that are wrong more often than expected make every estimate worse."""
    risk = RiskController()
    for _ in range(20):
        risk.audit(risk.begin_audit(0.1, 0.01), 0.01, 0.1, right=False)
    assert risk.correction > 2
