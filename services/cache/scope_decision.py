"""Decides within one scope, and learns from every verdict whether its decisions were right."""

from collections.abc import Callable, Sequence

from services.cache.brake import Braked
from services.cache.challenge import Challenge
from services.cache.challenger import Challenger, VerifierStanding
from services.cache.considered import Action, Considered, Near
from services.cache.decision import MEASURED_WRONG_SHARE, MissReason, precision
from services.cache.evidence import NAMES, Votes, favoured, weigh
from services.cache.known_answers import KnownAnswers
from services.cache.pair_verifier import Compared
from services.cache.risk_controller import LEAST_PROPENSITY, RiskController
from services.cache.scorer import Scorer
from services.cache.sketch import Sketch
from services.cache.veto_trials import VetoTrials
from services.cache.vetoes import Veto, veto
from services.cache.warm_up import Lessons
from services.chassis.errors import FailedPrecondition

_BEYOND_OPINION = frozenset({Veto.NUMBERS, Veto.NEGATION, Veto.TEXT})  # stand until their own trial, whoever decides
_BYTES = 20_000  # of memory: what is there from the start
_TRIALS_BYTES = 1500  # for each partition in which vetoes were on trial
_LEARNT = 150  # verdicts from which the scorer decides instead of the rule for new scopes


class ScopeDecision:
    """One scope: a tenant's prompts, by the similarities of one encoder.

    A new scope serves only what no veto speaks against from `min_similarity` on, and audits a share of that. From 150
    verdicts on its own scorer decides, and a kind of veto stands until verdicts of the same partition (system prompt,
    model, sampling) have spoken against it. A verifier of pairs that has won there weighs words, names, questions,
    order and spelling itself.
    """

    def __init__(self, min_similarity: float, chance: Callable[[], float]) -> None:
        """`chance` draws from [0, 1)."""
        self._min_similarity = min_similarity
        self._chance = chance
        self.scorer = Scorer(len(NAMES))
        self.risk = RiskController()
        self.trials = VetoTrials()
        self.warmth = Challenge()
        self.challenger: Challenger | None = None
        self.answers = KnownAnswers()

    def consider(
        self, asked: Sketch, near: Near, bound: float, judged: bool = True, executes: bool = True
    ) -> Considered:
        """Decides on the answer that the neighbours, at least one, speak for.

        Where nothing is `judged`, nothing is audited, and certificate and brake take what is served for wrong.
        For who `executes` nothing, no request was begun: it is one if it is served, and else changes nothing.
        """
        similarities, answers = near.similarities, near.answers
        votes, against, stands = self._candidate(asked, near)
        record, entries = self.answers.record(answers[votes.place]), self.answers.entries
        features = weigh(similarities, answers, votes, record, entries, against is not None)
        learnt = self.learnt
        nearest = similarities[votes.place]
        pair = Compared(asked, near.sketch(votes.place), nearest, against) if self.challenger else None
        doubt = self._doubt(features, pair) if learnt else 1 - precision(nearest)
        close = self.risk.allows(doubt, bound) if learnt else self._is_near(nearest, bound)
        braked = self.risk.brake.stops(judged, bound) or (not learnt and self.risk.overdrawn(bound))  # all are audited
        tempting = close and against is not None
        action, propensity = Action.CHECK, 1.0
        reason: MissReason | None = MissReason.VETOED if close and stands else MissReason.NOT_NEAR
        if close and not stands and braked and not judged:
            reason = MissReason.BRAKED
        elif close and not stands:
            usual, reason = self.risk.propensity(doubt) if learnt else LEAST_PROPENSITY, None
            doubted = judged and self.answers.doubted(answers[votes.place])
            propensity = 1.0 if braked or doubted else usual
            action = Action.AUDIT if judged and self._chance() < propensity else Action.SERVE
        audit = self.risk.begin_audit(propensity, bound) if action is Action.AUDIT else None
        served = action is Action.SERVE
        if served and not executes:
            self.risk.begin(bound)
        if served or executes:
            self.risk.note(doubt if learnt else 1.0)
        if served:
            self.risk.serve(doubt, bound, judged)
        said = self._explain(nearest, doubt, against if close and stands else None, learnt, bound)
        if braked and close and not stands:
            said += f"; but {self._braked(judged, bound)}"
        return Considered(
            action,
            votes.place,
            answers[votes.place],
            doubt,
            propensity,
            reason,
            said,
            features,
            against,
            tempting,
            pair,
            near.fingerprint,
            audit,
            bound,
        )

    def warm(self, lessons: Lessons) -> None:
        """Takes lessons of a warm-up, in place of earlier ones; a scope that has learnt takes the verifier alone.

        A verifier that leads stays in its place until the new one has won against it, or it has lost it.

        They are tried on the scope's own verdicts before they decide anything, and no book and no veto knows of them.

        Raises:
            FailedPrecondition: the scope has learnt enough by itself, and there is no verifier.
        """
        if self.scorer.count < _LEARNT:
            self.warmth = Challenge()
            self.scorer.warm(lessons.rows, lessons.right)
        elif lessons.verifier is None:
            told = f"{self.scorer.count} verdicts of its own"
            raise FailedPrecondition(
                "scope", told, f"a scope with fewer than {_LEARNT}, or enough to train a verifier on"
            )
        taught = None if lessons.verifier is None else Challenger(lessons.verifier, self.scorer)
        if self.challenger and self._verified:
            self.challenger.successor = taught
        else:
            self.challenger = taught

    def learn(self, considered: Considered, right: bool) -> None:
        """Takes a verdict on an answer that was audited or checked, or a report on one that was served."""
        self._try_warmth(considered, right)
        sought = 1.0 if considered.action is Action.SERVE else considered.propensity  # a report comes unsought
        features = considered.features
        if self.challenger:
            own = 1 - self.scorer.probability(features) if self.scorer.count >= _LEARNT else None
            self.challenger.learn(own, features, considered.pair, right, 1 / sought)
            self.challenger = self.challenger.foremost
        self.scorer.learn(features, right, 1 / sought)
        self.answers.judged(considered.answer, right)
        if considered.action is Action.SERVE and not right:
            self.risk.reported(considered.doubt, considered.bound)
        if considered.audit:
            self.answers.compared(considered.answer)
            self.risk.audit(considered.audit, considered.doubt, considered.propensity, right)
        if considered.veto and considered.tempting:
            self.trials.judged(considered.fingerprint, considered.veto, right)

    @property
    def bytes(self) -> int:
        """Bytes of memory, about."""
        return _BYTES + self.scorer.bytes + self.answers.bytes + _TRIALS_BYTES * len(self.trials.counts)

    @property
    def learnt(self) -> bool:
        """Whether the scope's own scorer decides."""
        return self.scorer.count >= _LEARNT or self.warmth.leads

    @property
    def _verified(self) -> bool:
        """Whether a verifier's opinion is part of every decision."""
        return self.challenger is not None and self.challenger.contest.leads

    def _doubt(self, features: Sequence[float], pair: Compared | None) -> float:
        """What the scorer estimates, or the challenger that has won against it."""
        own = 1 - self.scorer.probability(features)
        return self.challenger.doubt(own, features, pair) if self.challenger and self._verified and pair else own

    @property
    def verifier(self) -> tuple[VerifierStanding, float]:
        """Where the verifier of pairs stands, and the stake of its contest."""
        if self.challenger is None:
            return VerifierStanding.NONE, 0.0
        contest = self.challenger.contest
        return VerifierStanding.DECIDES if contest.leads else VerifierStanding.CHALLENGES, contest.stake

    def _try_warmth(self, considered: Considered, right: bool) -> None:
        """Lets a warm-up decide early where it foresees the first verdicts, until the scope's own suffice."""
        known = self.scorer
        if not known.warmed:
            return
        if known.count + 1 < _LEARNT:
            self.warmth.judged(known.foreseen(considered.features), right)
        else:
            known.cool()

    def _candidate(self, asked: Sketch, near: Near) -> tuple[Votes, Veto | None, bool]:
        """The answer with most votes; where a veto stands against it, the nearest similar one without a veto.

        With it the veto against it, if there is one, and whether that stands.
        """
        similarities, answers, sketch_at = near.similarities, near.answers, near.sketch
        votes = favoured(similarities, answers)
        against = veto(asked, sketch_at(votes.place))
        if against is None or not self._stands(against, near):
            return votes, against, False
        for place, similarity in enumerate(similarities):
            if similarity < self._min_similarity:
                break
            if place != votes.place and veto(asked, sketch_at(place)) is None:
                return favoured(similarities, answers, place), None, False
        return votes, against, True

    def _stands(self, against: Veto, near: Near) -> bool:
        weighed = self._verified and against not in _BEYOND_OPINION
        return not (self.learnt and (weighed or self.trials.lifted(near.fingerprint, against)))

    def _braked(self, judged: bool, bound: float) -> str:
        """Why nothing is served for now but what is compared."""
        why = {
            Braked.OFF: "the rule for new scopes served what it may",
            Braked.UNTOLD: "the brake is on: too little of what was served was told right",
            Braked.WRONG: "the brake is on: too much of what was served was found wrong",
        }
        return why[self.risk.brake.why(judged, bound)]

    def _is_near(self, similarity: float, bound: float) -> bool:
        """The rule for new scopes, for who allows what it was measured to get wrong."""
        return similarity >= self._min_similarity and bound >= MEASURED_WRONG_SHARE

    def _explain(self, nearest: float, doubt: float, against: Veto | None, learnt: bool, bound: float) -> str:
        if against is not None:
            return f"nearest {nearest:.3f}, but {against.value}"
        if not learnt and bound < MEASURED_WRONG_SHARE:
            return f"nearest {nearest:.3f}, but a new scope promises no less than {MEASURED_WRONG_SHARE}"
        if not learnt:
            return f"nearest {nearest:.3f}, served from {self._min_similarity:.3f}"
        most = self.risk.largest_risk / self.risk.correction
        by = " by the verifier of pairs" if self._verified else ""
        return f"nearest {nearest:.3f}, wrong with probability {doubt:.4f}{by}, served up to {most:.4f}"
