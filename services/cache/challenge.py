"""Tells from a scope's own verdicts, at any time, whether one way to estimate is better than another."""

import math

_WON = math.log(20.0)
_LOST = math.log(5000.0)
_LEAST = 1e-3  # probability that an estimate leaves to either verdict


class Challenge:
    """Bets on each verdict what the challenger's estimate is worth against the champion's, before it is known.

    Where the champion is right the stake is a fair game, so that it ever reaches 20 with a probability of 5 % at most
    (Ville's inequality). Once it has, the challenger `leads`, and every verdict bets the other way round, from a stake
    that never falls below 1, so that who turns worse is soon found out, however long it was better: at 5,000, which it
    reaches but once in 5,000 verdicts where the challenger is right (Lorden 1971), the place is lost.
    """

    def __init__(self) -> None:
        self.log_stake = 0.0
        self.leads = False

    def judged(self, challenger: float, champion: float, right: bool) -> None:
        """Takes a verdict and what both had estimated before it: probabilities of it being right."""
        gain = _log(challenger, right) - _log(champion, right)
        self.log_stake = max(self.log_stake - gain, 0.0) if self.leads else self.log_stake + gain
        if self.log_stake >= (_LOST if self.leads else _WON):
            self.leads, self.log_stake = not self.leads, 0.0


def _log(estimate: float, right: bool) -> float:
    estimate = min(max(estimate, _LEAST), 1 - _LEAST)
    return math.log(estimate if right else 1 - estimate)
