"""Whether models compete in one order on every prompt, so that a promise may count on that order."""

from collections.abc import Collection, Sequence
from functools import lru_cache

from services.router.catalogue import Model
from services.router.prices import ListPrice, MachinePrice


class Rivalry:
    """Which of a catalogue's models may compete with the default by cost, and where their order is every prompt's.

    Args:
        models: of the catalogue, cheapest first; of all of them or none it is known how much they say.
        fitted: names of those whose loss is predicted and calibrated.
    """

    def __init__(self, models: Sequence[Model], fitted: Collection[str]) -> None:
        self._models = {model.name: model for model in models}
        self._default = next(model for model in models if model.is_default)
        self._fitted = set(fitted) - {self._default.name}
        self._cheaper = {model.name for model in models if _may_be_cheaper(model, self._default)}
        self.all = lru_cache(256)(self._all)

    def _all(self, able: Sequence[str], by_prompt: bool) -> tuple[tuple[str, ...], bool]:
        """All that may compete, cheapest first, and whether they do so in one order on every prompt.

        Args:
            able: a tuple of who may answer some prompts, cheapest first.
            by_prompt: whether something else than cost makes the order.
        """
        rivals = tuple(one for one in able if one in self._fitted and (by_prompt or one in self._cheaper))
        by_cost = not by_prompt and self._default.name in able and bool(rivals)
        return rivals, by_cost and self._one_order([self._models[one] for one in rivals])

    def _one_order(self, rivals: Sequence[Model]) -> bool:
        """Whether each costs less than the next and at last the default on every prompt, and all take the default's.

        Where two may cost the same, what is predicted decides between them. Prompts with tools may be the default's
        alone, but not some of the rivals'.
        """
        wide = all(_takes_all_of(one, self._default) for one in rivals)
        alike = len({one.supports_tools for one in rivals}) <= 1
        following = [*rivals[1:], self._default]
        return wide and alike and all(_cheaper(one, other) for one, other in zip(rivals, following, strict=True))


def _may_be_cheaper(one: Model, default: Model) -> bool:
    """Whether there may be a prompt on which `one` is known to cost less than the default."""
    return one.price is not None and not _never_dearer(default, one)


def _cheaper(one: Model, other: Model) -> bool:
    """Whether `one` is proven to cost no more on any prompt, and less on some."""
    return _never_dearer(one, other) and not _never_dearer(other, one)


def _takes_all_of(one: Model, other: Model) -> bool:
    wider = one.context_tokens >= other.context_tokens
    return wider and one.context_tokens * one.bytes_per_token >= other.context_tokens * other.bytes_per_token


def _never_dearer(one: Model, other: Model) -> bool:
    """By tokens where a request counts them, by bytes where it does not; prices with tiers prove nothing.

    The answer's by the token and by the answer: a request may limit how much is said.
    """
    ours, theirs = _dollars(one), _dollars(other)
    if ours is None or theirs is None:
        return False
    by_bytes = ours[0] / one.bytes_per_token <= theirs[0] / other.bytes_per_token
    whole = ours[1] * (one.expected_output_tokens or 1) <= theirs[1] * (other.expected_output_tokens or 1)
    return by_bytes and ours[0] <= theirs[0] and ours[1] <= theirs[1] and whole


def _dollars(model: Model) -> tuple[float, float] | None:
    """Of a million input tokens and a million output tokens."""
    price = model.price
    if isinstance(price, ListPrice):
        return price.flat_rates
    if isinstance(price, MachinePrice):
        a_second = price.usd_per_hour / 3600
        seconds = price.reference_seconds_per_million_input_tokens, price.reference_seconds_per_million_output_tokens
        return a_second * seconds[0], a_second * seconds[1]
    return None
