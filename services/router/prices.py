"""What a model costs: list and machine prices, and the expected cost of one request in billionths of a dollar."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, ClassVar, TypeAlias

import genai_prices
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelPrice, TieredPrices
from pydantic import ConfigDict, Field

Amount: TypeAlias = Annotated[float, Field(ge=0, le=1e6)]
_FORBID = ConfigDict(extra="forbid")
_VERSION = re.compile(r"[-@](latest|\d{3,4}|\d{8}|\d{2}-\d{2}|\d{4}-\d{2}-\d{2})$")  # of one model, by its provider


@dataclass(frozen=True, slots=True)
class PriceTier:
    """US dollars per million tokens, all of a request's, where its prompt has more tokens than `above_input_tokens`."""

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    above_input_tokens: Annotated[int, Field(ge=0)]
    input_usd_per_million_tokens: Amount
    cached_input_usd_per_million_tokens: Amount
    cache_write_usd_per_million_tokens: Amount
    output_usd_per_million_tokens: Amount


@dataclass(frozen=True, slots=True)
class ListPrice:
    """A provider's list price in US dollars per million tokens, with what longer prompts cost."""

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    input_usd_per_million_tokens: Amount
    cached_input_usd_per_million_tokens: Amount
    cache_write_usd_per_million_tokens: Amount
    output_usd_per_million_tokens: Amount
    tiers: tuple[PriceTier, ...] = ()

    def cost_nano_usd(self, input_tokens: int, output_tokens: int, cached_tokens: int) -> int:
        """Expected cost where `cached_tokens` of the input are read from the provider's cache."""
        price = self.at(input_tokens) if self.tiers else self
        usd = (
            price.input_usd_per_million_tokens * (input_tokens - cached_tokens)
            + price.cached_input_usd_per_million_tokens * cached_tokens
            + price.output_usd_per_million_tokens * output_tokens
        )
        return round(usd * 1_000)  # 1e9 nano-dollars a dollar over 1e6 tokens a million

    @property
    def flat_rates(self) -> tuple[float, float] | None:
        """Dollars per million input and output tokens that a request costs which reads no cache, however long it is."""
        return None if self.tiers else (self.input_usd_per_million_tokens, self.output_usd_per_million_tokens)

    def at(self, input_tokens: int) -> "ListPrice | PriceTier":
        """The highest tier that a prompt of so many tokens is above, or this price itself."""
        above = [tier for tier in self.tiers if input_tokens > tier.above_input_tokens]
        return max(above, key=lambda tier: tier.above_input_tokens, default=self)


@dataclass(frozen=True, slots=True)
class MachinePrice:
    """A self-hosted model's price: the machine's, and the time that the reference engine takes on it."""

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    usd_per_hour: Amount
    reference_seconds_per_million_input_tokens: Amount
    reference_seconds_per_million_output_tokens: Amount

    def seconds(self, input_tokens: int, output_tokens: int, cached_tokens: int) -> float:
        """Machine seconds on the reference engine; tokens held in its prefix cache take none."""
        microseconds = (
            self.reference_seconds_per_million_input_tokens * (input_tokens - cached_tokens)
            + self.reference_seconds_per_million_output_tokens * output_tokens
        )
        return microseconds / 1_000_000

    def cost_nano_usd(self, input_tokens: int, output_tokens: int, cached_tokens: int) -> int:
        """Expected cost on the reference engine: more than a faster engine will take."""
        return round(self.seconds(input_tokens, output_tokens, cached_tokens) * self.usd_per_hour / 3600 * 1e9)


Price: TypeAlias = ListPrice | MachinePrice


def published_price(provider: str | None, model: str) -> ListPrice:
    """The price that the genai-prices library ships for a model, without a network.

    Where a provider states no price for cached tokens they cost what input costs; where prices rise with the prompt's
    length each tier is kept; where they change with the time of day the dearest hour is taken.

    Args:
        provider: its name in that library; found by the model's name where None.
        model: the provider's name for it.

    Raises:
        LookupError: the library knows no such provider, no model of that very name, or no token price of it.
    """
    _published(provider, model)
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    hours = [midnight + timedelta(hours=hour) for hour in range(24)]
    found = [
        genai_prices.calc_price(
            genai_prices.Usage(), model_ref=model, provider_id=provider, genai_request_timestamp=hour
        ).model_price
        for hour in hours
    ]
    for price in found:
        if price.input_mtok is None or price.output_mtok is None:
            raise LookupError(f"no input and output price for model_ref={model!r} in {provider or 'any provider'}")
    return max((_listed(price) for price in found), key=lambda listed: listed.cost_nano_usd(1000, 250, 0))


def publisher(model: str) -> str:
    """Whose price `published_price` takes for a model by its name alone; LookupError where nobody's."""
    return _published(None, model)


def _published(provider: str | None, model: str) -> str:
    """The provider that publishes a model; the library itself takes `gpt-4o-distilled-at-home` for `gpt-4o`."""
    found_provider, found = get_snapshot().find_provider_model(model, None, provider, None)
    names = {found.id.lower(), *(name.lower() for name in _names(found.match))}
    if names.isdisjoint({model.lower(), _VERSION.sub("", model.lower())}):
        told = f"{found_provider.id} publishes {found.id!r}, which is another name"
        raise LookupError(f"Unable to find model with model_ref={model!r}: {told}")
    return found_provider.id


def _names(match: object) -> Iterator[str]:
    """The names within the library's rule for which models a price is of."""
    for part in (*getattr(match, "or_", ()), *getattr(match, "and_", ())):
        yield from _names(part)
    yield from (getattr(match, kind) for kind in ("equals", "starts_with", "contains") if hasattr(match, kind))


def _listed(price: ModelPrice) -> ListPrice:
    kinds = (price.input_mtok, price.cache_read_mtok, price.cache_write_mtok, price.output_mtok)
    starts = sorted({tier.start for kind in kinds if isinstance(kind, TieredPrices) for tier in kind.tiers})
    tiers = tuple(PriceTier(start, *_amounts(kinds, start + 1)) for start in starts)
    return ListPrice(*_amounts(kinds, 0), tiers)


def _amounts(kinds: Sequence[Decimal | TieredPrices | None], input_tokens: int) -> tuple[float, float, float, float]:
    """Fresh, cached, written and answer tokens' prices for a prompt of so many tokens."""
    fresh, cached, written, answer = (_amount(kind, input_tokens) for kind in kinds)
    if fresh is None or answer is None:
        raise LookupError("no input and output price")
    return fresh, fresh if cached is None else cached, fresh if written is None else written, answer


def _amount(kind: Decimal | TieredPrices | None, input_tokens: int) -> float | None:
    if not isinstance(kind, TieredPrices):
        return None if kind is None else float(kind)
    above = [tier.price for tier in kind.tiers if input_tokens > tier.start]
    return float(above[-1] if above else kind.base)
