"""What requests took, and the sums of it: one shape for a receipt, a tenant's day and a whole ledger."""

from dataclasses import dataclass, fields

from services.edge.chat import Outcome, Usage
from services.edge.receipt import LEVERS, Cost


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over requests and abandoned executions; nano-dollars and tokens are those that are known."""

    requests: int = 0
    exact_hits: int = 0
    semantic_hits: int = 0
    shared: int = 0
    abandoned: int = 0
    unpriced_requests: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    baseline_nano_usd: int = 0
    saved_by_routing: int = 0
    saved_by_answer_reuse: int = 0
    saved_by_prefix_reuse: int = 0
    saved_by_execution: int = 0
    actual_nano_usd: int = 0

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(*(getattr(self, name) + getattr(other, name) for name in SUMS))

    @property
    def usage(self) -> Usage:
        """Tokens."""
        return Usage(self.input_tokens, self.cached_input_tokens, self.cache_write_tokens, self.output_tokens)

    @property
    def saved_nano_usd(self) -> tuple[int, ...]:
        """What each lever saved, in the order of LEVERS."""
        return tuple(getattr(self, f"saved_by_{lever}") for lever in LEVERS)

    def factors(self) -> list[float]:
        """What each lever left of what it found, over all requests."""
        left, factors = self.baseline_nano_usd, []
        for saved in self.saved_nano_usd:
            factors.append((left - saved) / left if left else 1.0)
            left -= saved
        return factors


SUMS = tuple(one.name for one in fields(Totals))
_HITS = {"exact_hit": "exact_hits", "semantic_hit": "semantic_hits", "shared": "shared"}


def answered(outcome: Outcome, cost: Cost | None) -> Totals:
    """What one answered request counts for."""
    hit = _HITS.get(outcome.cache.result)
    return _amounts(outcome.finish.usage, cost, {"requests": 1} | ({hit: 1} if hit else {}))


def abandoned(usage: Usage | None, cost: Cost | None) -> Totals:
    """What one execution counts for that answered nobody."""
    return _amounts(usage, cost, {"abandoned": 1})


def _amounts(usage: Usage | None, cost: Cost | None, counts: dict[str, int]) -> Totals:
    tokens = usage or Usage()
    if cost:
        money = {f"saved_by_{one.lever}": one.saved_nano_usd for one in cost.levers}
        money |= {"baseline_nano_usd": cost.baseline_nano_usd, "actual_nano_usd": cost.actual_nano_usd}
    else:
        money = {"unpriced_requests": 1}
    return Totals(
        **counts,
        input_tokens=tokens.input_tokens,
        cached_input_tokens=tokens.cached_input_tokens,
        cache_write_tokens=tokens.cache_write_tokens,
        output_tokens=tokens.output_tokens,
        **money,
    )
