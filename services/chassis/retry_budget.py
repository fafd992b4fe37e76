"""How many further attempts may be made, so that a backend in trouble is not given more to do."""


class RetryBudget:
    """A bucket: each call pays `ratio` of an attempt in, each further attempt takes one out.

    Args:
        ratio: further attempts per call in the long run.
        reserve: what the bucket holds, and begins with; n calls make at most n * ratio + reserve further attempts.
    """

    __slots__ = ("_left", "_ratio", "_reserve", "refused")

    def __init__(self, ratio: float, reserve: float) -> None:
        self._ratio = ratio
        self._reserve = reserve
        self._left = reserve
        self.refused = 0  # attempts that were not made, for metrics

    def earn(self) -> None:
        """A call is made."""
        self._left = min(self._reserve, self._left + self._ratio)

    def take(self) -> bool:
        """Whether one further attempt may be made; it is then paid for."""
        if self._left < 1.0:
            self.refused += 1
            return False
        self._left -= 1.0
        return True
