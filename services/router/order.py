"""Whether models compete in one order on every prompt, so that a promise may count on that order."""

from collections.abc import Sequence
from functools import lru_cache

from services.router.catalogue import Model
from services.router.prices import ListPrice, MachinePrice


@lru_cache(256)
def one_order(default: Model, rivals: Sequence[Model]) -> bool:
    """Whether each of `rivals`, cheapest first, is cheaper than the next and at last the default on every prompt, and
    takes every prompt that the default takes.

    Args:
        default: the strong model.
        rivals: a tuple of the others that may be chosen.
    """
    wide = all(_takes_all_of(one, default) for one in rivals)
    return wide and all(_never_dearer(one, other) for one, other in zip(rivals, [*rivals[1:], default], strict=True))


@lru_cache(1024)
def may_be_cheaper(one: Model, default: Model) -> bool:
    """Whether there may be a prompt on which `one` is known to cost less than the default."""
    return one.price is not None and not _never_dearer(default, one)


def _takes_all_of(one: Model, other: Model) -> bool:
    wider = one.context_tokens >= other.context_tokens
    return wider and one.context_tokens * one.bytes_per_token >= other.context_tokens * other.bytes_per_token


def _never_dearer(one: Model, other: Model) -> bool:
    """By tokens where a request counts them, by bytes where it does not; prices with tiers prove nothing."""
    ours, theirs = _dollars(one), _dollars(other)
    if ours is None or theirs is None:
        return False
    by_bytes = ours[0] / one.bytes_per_token <= theirs[0] / other.bytes_per_token
    return by_bytes and ours[0] <= theirs[0] and ours[1] <= theirs[1]


def _dollars(model: Model) -> tuple[float, float] | None:
    """Of a million input tokens and a million output tokens."""
    price = model.price
    if isinstance(price, ListPrice) and not price.tiers:
        return price.input_usd_per_million_tokens, price.output_usd_per_million_tokens
    if isinstance(price, MachinePrice):
        usd = price.usd_per_hour / 3600
        input_s, output_s = (
            price.reference_seconds_per_million_input_tokens,
            price.reference_seconds_per_million_output_tokens,
        )
        return usd * input_s, usd * output_s
    return None
