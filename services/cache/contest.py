"""Tells at any time, from a scope's own verdicts, whether one estimator would decide better than the one that does."""

import math

_WON = 20.0
_LOST = 5000.0
_WORST = 0.35  # doubt from which nothing is served, whatever the books say: who doubts more is right or wrong as much
_RATES = (0.02, 0.05, 0.1, 0.25, 0.5)  # of the stake that a verdict puts at risk, by difference of losses
_MOST = 0.9  # of the stake that a verdict may cost


class Contest:
    """Bets on each verdict that the challenger's loss is smaller than the incumbent's.

    The loss is Brier's, of doubts cut at the largest that is ever served, so that only what could be served counts. An
    audit stands for all the would-be hits that it was drawn from, a near miss for itself: weighed like that, the
    winner is better on what is asked, not on what happens to be judged (Horvitz and Thompson 1952). A verdict that
    could cost more than the whole stake lowers the rates for good.

    While the challenger is no better on all that is asked, no stake at a fixed rate is expected to grow, nor is the
    mean of several: it ever reaches 20 with a probability of 5 % at most (Ville's inequality), whatever the truth and
    however wrong the incumbent (Choe and Ramdas 2023). Once it has, the challenger `leads`, and the bets go the other
    way round with stakes that never fall below 1: at a mean of 5,000, which is reached but once in 5,000 verdicts
    where the challenger is not worse (Shin, Ramdas and Rinaldo 2022), the place is lost.
    """

    def __init__(self) -> None:
        self.leads = False
        self.log_stakes = [0.0] * len(_RATES)
        self.largest = 0.0  # of the differences that a verdict could have cost

    def judged(self, incumbent: float, challenger: float, right: bool, weight: float) -> None:
        """Takes a verdict, and what both had estimated before it: probabilities of the answer being wrong.

        Its `weight` is the number of candidates that it stands for: the inverse of the chance with which it was sought.
        """
        signed = -weight if self.leads else weight
        wrong_gain, right_gain = (signed * (_loss(incumbent, one) - _loss(challenger, one)) for one in (False, True))
        self.largest = max(self.largest, -wrong_gain, -right_gain)
        highest = _MOST / self.largest if self.largest else math.inf
        gain, least = right_gain if right else wrong_gain, 0.0 if self.leads else -math.inf
        stakes = zip(self.log_stakes, _RATES, strict=True)
        self.log_stakes = [max(stake + math.log1p(min(rate, highest) * gain), least) for stake, rate in stakes]
        if self.stake >= (_LOST if self.leads else _WON):
            self.restore((not self.leads, [0.0] * len(_RATES), 0.0))

    @property
    def stake(self) -> float:
        """What the evidence amounts to: for the challenger, at 20 won; or against one that leads, at 5,000 lost."""
        return sum(map(math.exp, self.log_stakes)) / len(_RATES)

    @property
    def state(self) -> tuple[bool, list[float], float]:
        """Where it stands."""
        return self.leads, self.log_stakes, self.largest

    def restore(self, state: tuple[bool, list[float], float]) -> None:
        """Takes what `state` gave."""
        self.leads, self.log_stakes, self.largest = state


def _loss(doubt: float, right: bool) -> float:
    doubt = min(doubt, _WORST)
    return doubt**2 if right else (1 - doubt) ** 2
