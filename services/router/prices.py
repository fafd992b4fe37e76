"""What a model costs: list and machine prices, and the expected cost of one request in billionths of a dollar."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, ClassVar, TypeAlias

import genai_prices
from genai_prices.types import TieredPrices
from pydantic import ConfigDict, Field

Amount: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_FORBID = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class ListPrice:
    """A provider's list price in US dollars per million tokens."""

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    input_usd_per_million_tokens: Amount
    cached_input_usd_per_million_tokens: Amount
    cache_write_usd_per_million_tokens: Amount
    output_usd_per_million_tokens: Amount

    def cost_nano_usd(self, input_tokens: int, output_tokens: int, cached_tokens: int) -> int:
        """Expected cost where `cached_tokens` of the input are read from the provider's cache."""
        usd = (
            self.input_usd_per_million_tokens * (input_tokens - cached_tokens)
            + self.cached_input_usd_per_million_tokens * cached_tokens
            + self.output_usd_per_million_tokens * output_tokens
        )
        return round(usd * 1_000)  # 1e9 nano-dollars a dollar over 1e6 tokens a million


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


def published_price(provider: str, model: str) -> ListPrice:
    """The price that the genai-prices library ships for a model, without a network.

    Where a provider states no price for cached tokens they cost what input costs; where prices rise with the prompt's
    length the lowest tier is taken.

    Raises:
        LookupError: the library knows no such provider, no such model, or no token price of it.
    """
    found = genai_prices.calc_price(genai_prices.Usage(), model_ref=model, provider_id=provider).model_price
    input_usd, output_usd = _base(found.input_mtok), _base(found.output_mtok)
    if input_usd is None or output_usd is None:
        raise LookupError(f"no input and output price for model_ref={model!r} in {provider}")
    cached_usd, write_usd = _base(found.cache_read_mtok), _base(found.cache_write_mtok)
    return ListPrice(
        input_usd_per_million_tokens=input_usd,
        cached_input_usd_per_million_tokens=input_usd if cached_usd is None else cached_usd,
        cache_write_usd_per_million_tokens=input_usd if write_usd is None else write_usd,
        output_usd_per_million_tokens=output_usd,
    )


def _base(price: Decimal | TieredPrices | None) -> float | None:
    if price is None:
        return None
    return float(price.base if isinstance(price, TieredPrices) else price)
