"""Tells at any time, from a scope's own verdicts, whether one estimator would decide better than the one that does."""

import math

_WON = 20.0
_LOST = 5000.0
_WORST = 0.35  # doubt from which nothing is served, whatever the books say: who doubts more is right or wrong as much
_RATES = (0.1, 0.25, 0.5, 1.0, 1.5)  # of the stake that a verdict puts at risk; less than 1 / the largest difference


class Contest:
    """Bets on each verdict that the challenger's loss is smaller than the incumbent's.

    The loss is Brier's, of doubts cut at the largest that is ever served, so that only what could be served counts.
    While no verdict is expected to favour the challenger, whatever was before it, no stake at a fixed rate is expected
    to grow, nor is the mean of several: it ever reaches 20 with a probability of 5 % at most (Ville's inequality),
    whatever the truth and however wrong the incumbent (Choe and Ramdas 2023). Once it has, the challenger `leads`, and
    the bets go the other way round with stakes that never fall below 1: at a mean of 5,000, which is reached but once
    in 5,000 verdicts where the challenger is not worse (Shin, Ramdas and Rinaldo 2022), the place is lost.
    """

    def __init__(self) -> None:
        self.leads = False
        self.log_stakes = [0.0] * len(_RATES)

    def judged(self, incumbent: float, challenger: float, right: bool) -> None:
        """Takes a verdict, and what both had estimated before it: probabilities of the answer being wrong."""
        gain = _loss(incumbent, right) - _loss(challenger, right)
        gain, least = (-gain, 0.0) if self.leads else (gain, -math.inf)
        stakes = zip(self.log_stakes, _RATES, strict=True)
        self.log_stakes = [max(stake + math.log1p(rate * gain), least) for stake, rate in stakes]
        if self.stake >= (_LOST if self.leads else _WON):
            self.leads, self.log_stakes = not self.leads, [0.0] * len(_RATES)

    @property
    def stake(self) -> float:
        """What the evidence amounts to: for the challenger, at 20 won; or against one that leads, at 5,000 lost."""
        return sum(map(math.exp, self.log_stakes)) / len(_RATES)


def _loss(doubt: float, right: bool) -> float:
    doubt = min(doubt, _WORST)
    return doubt**2 if right else (1 - doubt) ** 2
