"""Tells from a scope's own verdicts, at any time, whether estimates are better than one share for all."""

import math

_WON = math.log(20.0)
_LOST = math.log(5000.0)
_LEAST = 1e-3  # probability that an estimate leaves to either verdict


class Challenge:
    """Compares what a challenger had estimated of each verdict with the constant that suits the verdicts best.

    That constant is chosen in hindsight, so whichever constant is the truth, the stake is no more than a fair game's:
    it ever reaches 20 with a probability of 5 % at most (Ville's inequality), and a challenger that is a constant
    itself never does. Once it has, the challenger `leads`, and every verdict bets the other way round, against the
    share of right ones so far, from a stake that never falls below 1, so that who turns worse is soon found out,
    however long it was better: at 5,000, which it reaches but once in 5,000 verdicts where the challenger is right
    (Lorden 1971), the place is lost.
    """

    def __init__(self) -> None:
        self.leads = False
        self.log_stake = 0.0
        self._earned = 0.0  # the challenger's log-likelihood
        self._counts = [0, 0]  # wrong, right

    def judged(self, challenger: float, right: bool) -> None:
        """Takes a verdict and what the challenger had estimated before it: a probability of it being right."""
        wrongs, rights = self._counts
        share = (rights + 1) / (wrongs + rights + 2)
        self._counts[right] += 1
        if self.leads:
            self.log_stake = max(self.log_stake + _log(share, right) - _log(challenger, right), 0.0)
        else:
            self._earned += _log(challenger, right)
            self.log_stake = self._earned - _best(self._counts)
        if self.log_stake >= (_LOST if self.leads else _WON):
            self.leads, self.log_stake, self._earned, self._counts = not self.leads, 0.0, 0.0, [0, 0]

    @property
    def state(self) -> tuple[bool, float, float, int, int]:
        """Where it stands."""
        return self.leads, self.log_stake, self._earned, self._counts[0], self._counts[1]

    def restore(self, state: tuple[bool, float, float, int, int]) -> None:
        """Takes what `state` gave."""
        self.leads, self.log_stake, self._earned = state[0], state[1], state[2]
        self._counts = [state[3], state[4]]


def _log(estimate: float, right: bool) -> float:
    estimate = min(max(estimate, _LEAST), 1 - _LEAST)
    return math.log(estimate if right else 1 - estimate)


def _best(counts: list[int]) -> float:
    """Log-likelihood of the share that the verdicts turned out to have."""
    return sum(count * math.log(count / sum(counts)) for count in counts if count)
