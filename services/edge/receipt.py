"""Receipts: what one answer cost, and what each lever saved, adding up to the last billionth of a dollar."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.edge.chat import Discarded, Outcome
from services.edge.price import Price
from services.edge.quality_budget import QualityBudget

LEVERS = ("routing", "answer_reuse", "prefix_reuse", "execution")
_REUSED = ("exact_hit", "semantic_hit", "shared")


@dataclass(frozen=True, slots=True)
class LeverSaving:
    """One lever: what it left of what it found, and the nano-dollars between."""

    lever: str
    factor: float
    saved_nano_usd: int


@dataclass(frozen=True, slots=True)
class Cost:
    """Nano-dollars; `baseline` less every saving is `actual`, exactly; `discarded` is a part of it."""

    baseline_model: str
    baseline_nano_usd: int
    levers: tuple[LeverSaving, ...]
    actual_nano_usd: int
    discarded_nano_usd: int = 0


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds from arrival to the first text and to the end, and seconds spent on the model."""

    first_token_s: float
    total_s: float
    model_s: float


@dataclass(frozen=True, slots=True)
class Receipt:
    """The last event of an answer, in the ledger under its id; `cost` is None where a price is unknown."""

    receipt_id: str
    request_id: str
    outcome: Outcome
    cost: Cost | None
    latency: Latency
    quality: QualityBudget


def cost_of(outcome: Outcome, prices: Mapping[str, Price | None], baseline_model: str | None) -> Cost | None:
    """The cost of an outcome, or None where the model is unpriced, or the tokens are unknown.

    The strongest model's full price is taken down lever by lever: to the chosen model's full price, to nothing where an
    answer was reused, to the price with cached prefix tokens, and to what was really spent. Each stage is rounded once,
    and a saving is the difference of two stages, so that the parts always add up. Where the strongest is unpriced the
    chosen model stands in for it: what was spent counts, and routing has saved nothing that is known. What was paid for
    answers that were discarded on the way is what routing cost.
    """
    price = prices.get(outcome.model)
    usage = outcome.finish.usage
    aside = set_aside(outcome.discarded, prices)
    if price is None or usage is None or aside is None:
        return None
    baseline = prices.get(baseline_model) if baseline_model else None
    if baseline_model is None or baseline is None:
        baseline_model, baseline = outcome.model, price
    stages = [baseline.full(usage), price.full(usage) + aside]
    if outcome.cache.result in _REUSED:
        stages += [0.0, 0.0, 0.0]
    else:
        stages += [stages[-1], price.with_prefix_reuse(usage) + aside]
        stages += [price.actual(usage, outcome.finish.machine_s) + aside]
    rounded = [round(stage) for stage in stages]
    levers = tuple(
        LeverSaving(lever, stages[i + 1] / stages[i] if stages[i] else 1.0, rounded[i] - rounded[i + 1])
        for i, lever in enumerate(LEVERS)
    )
    return Cost(baseline_model, rounded[0], levers, rounded[-1], round(aside))


def set_aside(discarded: Sequence[Discarded], prices: Mapping[str, Price | None]) -> float | None:
    """Nano-dollars of discarded answers; None where one's are not known."""
    total = 0.0
    for one in discarded:
        price = prices.get(one.model)
        if price is None or one.spent is None:
            return None
        total += price.actual(one.spent.usage, one.spent.machine_s)
    return total
