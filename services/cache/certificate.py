"""Bounds the wrong answers that were served, from audits alone and at any moment, whatever the scorer believed."""

import math

_SHARES = (0.3, 0.6, 0.85, 0.97)  # of the largest rate that the smallest propensity allows


class Certificate:
    """An upper bound on wrong answers served that holds at all times at once with probability `confidence`.

    Each would-be hit is audited with a propensity p known beforehand, else served. With a rate r < -log(1 - p), serving
    a wrong one multiplies a stake by e^r and auditing one multiplies it by (1 - (1 - p) e^r) / p: a fair game,
    whichever prompts turn out wrong. By Ville's inequality the mean stake of several rates stays below
    1 / (1 - confidence). An audit counts as wrong until its verdict says otherwise, so that what nobody could judge
    loosens nothing. Verdicts are taken as they are: against a judge that errs, the bound is on answers that this judge
    would call wrong.
    """

    def __init__(self, least_propensity: float, confidence: float = 0.95) -> None:
        self._rates = [share * -math.log(1 - least_propensity) for share in _SHARES]
        self._limit = math.log(len(self._rates) / (1 - confidence))
        self.penalties = [0.0 for _ in self._rates]  # -log of what the audits left of each stake

    def audited(self, propensity: float) -> None:
        """Takes in an audit, as one whose verdict is wrong."""
        for i, rate in enumerate(self._rates):
            self.penalties[i] += _penalty(propensity, rate)

    def found_right(self, propensity: float) -> None:
        """Takes back an audit: its verdict is right, which changes nothing."""
        for i, rate in enumerate(self._rates):
            self.penalties[i] -= _penalty(propensity, rate)

    def most_wrong(self) -> float:
        """Wrong answers served so far, at most."""
        low, high = 0.0, min((self._limit + p) / rate for p, rate in zip(self.penalties, self._rates, strict=True))
        for _ in range(40):
            middle = (low + high) / 2
            stakes = (rate * middle - p for p, rate in zip(self.penalties, self._rates, strict=True))
            if sum(math.exp(stake) for stake in stakes) < math.exp(self._limit):
                low = middle
            else:
                high = middle
        return high


def _penalty(propensity: float, rate: float) -> float:
    if propensity == 1:  # it had to be, and stands for nothing that was served
        return 0.0
    return -math.log((1 - (1 - propensity) * math.exp(rate)) / propensity)
