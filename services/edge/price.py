"""What tokens cost, as a provider lists it or as a machine's time makes it."""

import math
from dataclasses import dataclass

from services.edge.chat import Usage

_NANO_PER_USD = 1_000_000_000


@dataclass(frozen=True, slots=True)
class PriceTier:
    """US dollars per million tokens, all of a request's, where its prompt has more tokens than `above_input_tokens`."""

    above_input_tokens: int
    input_usd: float
    cached_input_usd: float
    cache_write_usd: float
    output_usd: float


@dataclass(frozen=True, slots=True)
class ListPrice:
    """US dollars per million tokens, with what longer prompts cost."""

    input_usd: float
    cached_input_usd: float
    cache_write_usd: float
    output_usd: float
    tiers: tuple[PriceTier, ...] = ()

    def full(self, usage: Usage) -> float:
        """Nano-dollars with nothing reused."""
        return self._nano(usage.input_tokens, 0, 0, usage.output_tokens)

    def with_prefix_reuse(self, usage: Usage) -> float:
        """Nano-dollars with cached tokens at their price."""
        fresh = usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens
        return self._nano(fresh, usage.cached_input_tokens, usage.cache_write_tokens, usage.output_tokens)

    def actual(self, usage: Usage, machine_s: float) -> float:
        """Nano-dollars that the provider bills, whatever time it took."""
        return self.with_prefix_reuse(usage)

    def _nano(self, fresh: int, cached: int, written: int, output: int) -> float:
        above = [tier for tier in self.tiers if fresh + cached + written > tier.above_input_tokens]
        price = max(above, key=lambda tier: tier.above_input_tokens, default=self)
        usd_per_million = (
            fresh * price.input_usd
            + cached * price.cached_input_usd
            + written * price.cache_write_usd
            + output * price.output_usd
        )
        return usd_per_million * _NANO_PER_USD / 1e6


@dataclass(frozen=True, slots=True)
class MachinePrice:
    """US dollars an hour, and the reference engine's seconds per million tokens."""

    usd_per_hour: float
    reference_input_s: float
    reference_output_s: float

    def full(self, usage: Usage) -> float:
        """Nano-dollars on the reference engine with nothing reused."""
        return self._reference(usage.input_tokens, usage.output_tokens)

    def with_prefix_reuse(self, usage: Usage) -> float:
        """Nano-dollars on the reference engine with cached tokens free."""
        return self._reference(usage.input_tokens - usage.cached_input_tokens, usage.output_tokens)

    def actual(self, usage: Usage, machine_s: float) -> float:
        """Nano-dollars of the machine time that was taken; of the reference engine's where a server tells none."""
        return self._nano(machine_s) if machine_s else self.with_prefix_reuse(usage)

    def reference_s(self, input_tokens: int, output_tokens: int) -> float:
        """Seconds on the reference engine."""
        return (input_tokens * self.reference_input_s + output_tokens * self.reference_output_s) / 1e6

    def _reference(self, input_tokens: int, output_tokens: int) -> float:
        return self._nano(self.reference_s(input_tokens, output_tokens))

    def _nano(self, seconds: float) -> float:
        return seconds * self.usd_per_hour / 3600 * _NANO_PER_USD


Price = ListPrice | MachinePrice


def at_most(price: Price, input_tokens: int, output_tokens: int) -> int:
    """Nano-dollars that so many tokens cost where nothing is reused, or all of the prompt is written to a cache."""
    fresh = Usage(input_tokens=input_tokens, output_tokens=output_tokens)
    written = Usage(input_tokens=input_tokens, cache_write_tokens=input_tokens, output_tokens=output_tokens)
    return math.ceil(max(price.full(fresh), price.with_prefix_reuse(written)))
