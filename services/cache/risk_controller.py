"""Holds the share of requests that are answered wrongly to a bound: how much risk is taken, and what is audited."""

from itertools import accumulate, islice

import numpy as np
from numpy.typing import NDArray

from services.cache.brake import Awaited, Brake
from services.cache.certificate import Certificate
from services.cache.octave import OCTAVES, octave

LEAST_PROPENSITY = 0.04  # of an audit; at the edge of what is served it is MOST_PROPENSITY
MOST_PROPENSITY = 0.15
_AIM = 0.8  # of the allowance is planned for; the rest is for what the estimates do not know
_HORIZON = 1500  # requests within which what was left of the allowance may be spent
_REPLAN = 50
_LARGEST_RISK = 0.35
_PRIOR_AUDITS = 10.0  # wrong ones, expected and found, before the first
_LEAST_CORRECTION = 0.8


class RiskController:
    """The books of one scope.

    Each request allows its bound of a wrong answer; each answer served spends its risk, which is the scorer's estimate
    of it being wrong times a correction: audits that were wrong over those expected to be.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.allowances = [0.0] * OCTAVES  # of wrong answers, by the bound's octave
        self.served = 0
        self.unaudited = 0
        self.audits = 0
        self.audits_wrong = 0
        self.spendings = [0.0] * OCTAVES  # by the octave of the bound of who was served
        self.expected_wrong = 0.0
        self.largest_risk = 0.0
        self.certificate = Certificate(LEAST_PROPENSITY)
        self.brake = Brake()
        self._recent = np.zeros(_HORIZON)
        self._seen = 0

    def begin(self, bound: float) -> None:
        """Counts a request, exact hits included, of which a share of `bound` may be answered wrongly."""
        self.requests += 1
        self.allowances[octave(bound)] += bound
        self.brake.allow(bound)
        if self.requests % _REPLAN == 0:
            self._plan()

    @property
    def allowance(self) -> float:
        """Wrong answers that requests allowed."""
        return sum(self.allowances)

    @property
    def spent(self) -> float:
        """Wrong answers that the scorer expects among those served."""
        return sum(self.spendings)

    def overdrawn(self, bound: float) -> bool:
        """Whether what was served, by its doubts and what audits made of them, is a wrong answer more than allowed.

        By callers who allow no more than `bound`, within its octave, or by any larger number of the strictest ones.
        Quicker to believe its audits than `correction` is: for a rule, which does not learn from them.
        """
        found, expected = self.audits_wrong + 1.0, self.expected_wrong + 1.0
        worse = max(found / expected, 1.0)
        sums = zip(accumulate(self.spendings), accumulate(self.allowances), strict=True)
        return any(spent * worse > allowed + 1.0 for spent, allowed in islice(sums, octave(bound), None))

    def note(self, doubt: float) -> None:
        """Takes in the estimate of a candidate being wrong, served or not: what there is to choose from."""
        self._recent[self._seen % _HORIZON] = doubt
        self._seen += 1

    def allows(self, doubt: float, bound: float) -> bool:
        """Whether a candidate this doubtful may be served to a request with this bound."""
        usual = self.allowance / max(self.requests, 1)
        share = min(1.0, bound / usual) if usual else 0.0
        return doubt * self.correction <= self.largest_risk * share

    def propensity(self, doubt: float) -> float:
        """Probability with which a would-be hit is audited rather than served."""
        edge = min(doubt * self.correction / self.largest_risk, 1.0) if self.largest_risk else 1.0
        return LEAST_PROPENSITY + (MOST_PROPENSITY - LEAST_PROPENSITY) * edge

    def serve(self, doubt: float, bound: float, judged: bool = True) -> None:
        """Books an answer served; one that could not have been audited instead is vouched for by nothing."""
        self.served += 1
        self.spendings[octave(bound)] += doubt
        if not judged:
            self.unaudited += 1
            self.brake.unvouched(bound)

    def reported(self, doubt: float, bound: float) -> None:
        """Books that an answer served with this doubt was wrong, as someone reported."""
        self.spendings[octave(bound)] += 1 - doubt

    def begin_audit(self, propensity: float, bound: float) -> Awaited:
        """Books a would-be hit that is executed instead, of which no verdict may ever come."""
        self.certificate.audited(propensity)
        return self.brake.audited(propensity, bound)

    def audit(self, awaited: Awaited, doubt: float, propensity: float, right: bool) -> None:
        """Books the verdict on a would-be hit that was executed instead."""
        self.audits += 1
        self.expected_wrong += doubt
        self.brake.judged(awaited, right)
        if not right:
            self.audits_wrong += 1
        else:
            self.certificate.found_right(propensity)

    @property
    def correction(self) -> float:
        """What the scorer's doubts are multiplied by."""
        found, expected = self.audits_wrong + _PRIOR_AUDITS, self.expected_wrong + _PRIOR_AUDITS
        return max(found / expected, _LEAST_CORRECTION)

    @property
    def realised(self) -> float:
        """Estimated share of all requests that were answered wrongly."""
        return self.spent * self.correction / max(self.requests, 1)

    @property
    def certified(self) -> float:
        """Share of all requests answered wrongly, at most, with 95 % confidence at any time: from audits alone."""
        most = self.certificate.most_wrong() + self.unaudited
        return min(most, float(self.served)) / max(self.requests, 1)

    def recent(self) -> NDArray[np.float64]:
        """Doubts of the last candidates, oldest first."""
        n = min(self._seen, _HORIZON)
        return self._recent[(np.arange(n) + (self._seen if self._seen > _HORIZON else 0)) % _HORIZON]

    def restore(self, recent: NDArray[np.float64]) -> None:
        """Takes what `recent` gave."""
        self._seen = min(len(recent), _HORIZON)
        self._recent[: self._seen] = recent[-_HORIZON:]

    def _plan(self) -> None:
        """Sets the largest risk such that the recent candidates below it would spend what is allowed."""
        if not self._seen:
            return
        risks = np.sort(self._recent[: min(self._seen, _HORIZON)]) * self.correction
        usual = self.allowance / self.requests
        left = max(_AIM * self.allowance - self.spent * self.correction, -usual * self.requests)
        allowed = _AIM * usual + left / _HORIZON
        affordable = int(np.searchsorted(np.cumsum(risks) / len(risks), allowed))
        self.largest_risk = min(_LARGEST_RISK, float(risks[affordable - 1])) if affordable else 0.0
