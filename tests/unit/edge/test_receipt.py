"""Receipts add up to the last billionth of a dollar, and what is unpriced is never free."""

from dataclasses import replace
from fractions import Fraction
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.edge.chat import CacheNote, Finish, FinishReason, Outcome, Usage
from services.edge.price import ListPrice, MachinePrice, Price
from services.edge.receipt import LEVERS, Cost, cost_of
from tests.unit.edge.parts import LARGE, LARGE_PRICE, SMALL, SMALL_PRICE, UNPRICED

PRICES: dict[str, Price | None] = {LARGE: LARGE_PRICE, SMALL: SMALL_PRICE, UNPRICED: None}
usd = st.floats(0, 1000, allow_nan=False)
list_prices = st.builds(ListPrice, usd, usd, usd, usd)
machine_prices = st.builds(MachinePrice, usd, st.floats(0, 1e5), st.floats(0, 1e6))
prices = list_prices | machine_prices


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    inputs = draw(st.integers(0, 2_000_000))
    cached = draw(st.integers(0, inputs))
    written = draw(st.integers(0, inputs - cached))
    return Usage(inputs, cached, written, draw(st.integers(0, 200_000)))


finishes = st.builds(Finish, st.sampled_from(FinishReason), usages(), st.floats(0, 10_000, allow_nan=False))
results = st.sampled_from(["exact_hit", "semantic_hit", "shared", "miss", "bypassed"])
outcomes = st.builds(Outcome, st.just("chosen"), finishes, st.builds(CacheNote, results))


def cost(outcome: Outcome, price: Price, baseline: Price) -> Cost:
    found = cost_of(outcome, {"chosen": price, "strong": baseline}, "strong")
    assert found
    return found


def tokens(outcome: Outcome) -> Usage:
    assert outcome.finish.usage is not None
    return outcome.finish.usage


@given(outcomes, prices, prices)
def test_savings_add_up(outcome: Outcome, price: Price, baseline: Price) -> None:
    """Whatever prices and tokens: baseline less every saving is the actual cost exactly, lever by lever in order."""
    found = cost(outcome, price, baseline)
    assert [saving.lever for saving in found.levers] == list(LEVERS)
    assert found.baseline_nano_usd - sum(saving.saved_nano_usd for saving in found.levers) == found.actual_nano_usd
    assert found.baseline_nano_usd >= 0
    assert found.actual_nano_usd >= 0
    assert found.baseline_model == "strong"


@given(outcomes, prices, prices)
def test_factors_multiply_to_what_is_left(outcome: Outcome, price: Price, baseline: Price) -> None:
    """The product of the factors is actual over baseline, but for the rounding of each stage to a nano-dollar."""
    found = cost(outcome, price, baseline)
    usage = tokens(outcome)
    stages = [
        baseline.full(usage),
        price.full(usage),
        price.with_prefix_reuse(usage),
        price.actual(usage, outcome.finish.machine_s),
    ]
    if min(stages) < 1e-6:
        return  # a factor of nothing is not defined
    left = prod(saving.factor for saving in found.levers)
    assert left * stages[0] == pytest.approx(found.actual_nano_usd, rel=1e-9, abs=0.51)
    for saving in found.levers:
        assert saving.factor >= 0


@given(outcomes, list_prices, prices)
def test_list_prices_are_what_the_provider_bills(outcome: Outcome, price: ListPrice, baseline: Price) -> None:
    """A remote model costs its list price to the nano-dollar, in exact arithmetic, and execution saves nothing."""
    outcome = replace(outcome, cache=CacheNote("miss"))
    found, usage = cost(outcome, price, baseline), tokens(outcome)
    fresh = usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens
    billed = 1000 * (
        fresh * Fraction(price.input_usd)
        + usage.cached_input_tokens * Fraction(price.cached_input_usd)
        + usage.cache_write_tokens * Fraction(price.cache_write_usd)
        + usage.output_tokens * Fraction(price.output_usd)
    )
    assert abs(found.actual_nano_usd - billed) <= Fraction(1, 2) + billed / 10**12
    assert found.levers[3].saved_nano_usd == 0
    assert found.levers[3].factor == 1


@given(outcomes, prices, prices)
def test_a_reused_answer_costs_nothing(outcome: Outcome, price: Price, baseline: Price) -> None:
    """A hit or a shared answer saves all that routing left, by answer reuse and by nothing after it."""
    outcome = replace(outcome, cache=CacheNote("exact_hit"))
    found, usage = cost(outcome, price, baseline), tokens(outcome)
    routing, reuse, prefix, execution = found.levers
    assert found.actual_nano_usd == 0
    assert reuse.saved_nano_usd == round(price.full(usage))
    assert routing.saved_nano_usd == found.baseline_nano_usd - reuse.saved_nano_usd
    assert (prefix.saved_nano_usd, execution.saved_nano_usd) == (0, 0)
    assert (prefix.factor, execution.factor) == (1, 1)
    assert reuse.factor == (0 if price.full(usage) else 1)


def test_a_worked_example() -> None:
    """The figures of one self-hosted answer, by hand."""
    usage = Usage(input_tokens=1000, cached_input_tokens=400, output_tokens=100)
    outcome = Outcome(SMALL, Finish(FinishReason.STOP, usage, machine_s=0.04), CacheNote("miss"))
    found = cost_of(outcome, PRICES, LARGE)
    assert found
    # 1000 x 10 + 100 x 30 dollars a million; then 0.1 + 0.1 s, 0.06 + 0.1 s and 0.04 s at 0.001 dollars a second.
    assert found.baseline_nano_usd == 13_000_000
    saved = {saving.lever: saving.saved_nano_usd for saving in found.levers}
    assert saved == {"routing": 12_800_000, "answer_reuse": 0, "prefix_reuse": 40_000, "execution": 120_000}
    factors = [saving.factor for saving in found.levers]
    assert factors == pytest.approx([0.2 / 13, 1.0, 0.8, 0.25])
    assert found.actual_nano_usd == 40_000


def test_a_dearer_model_or_slower_engine_saves_a_negative_amount() -> None:
    """A lever that cost more says so instead of hiding it."""
    usage = Usage(input_tokens=1000, output_tokens=100)
    slow = Outcome(SMALL, Finish(FinishReason.STOP, usage, machine_s=1.0), CacheNote("miss"))
    found = cost_of(slow, PRICES, SMALL)
    assert found
    assert found.levers[3].saved_nano_usd == -800_000
    assert found.levers[3].factor == pytest.approx(5.0)
    dear = cost_of(Outcome(LARGE, slow.finish, CacheNote("miss")), PRICES, SMALL)
    assert dear
    assert dear.levers[0].saved_nano_usd < 0
    assert dear.levers[0].factor > 1


@pytest.mark.parametrize(("model", "baseline"), [(UNPRICED, LARGE), ("never heard of", LARGE), (UNPRICED, UNPRICED)])
@pytest.mark.parametrize("result", ["miss", "exact_hit"])
def test_unpriced_is_not_free(model: str, baseline: str, result: str) -> None:
    """Where the model has no price there is no cost at all, rather than one of zero."""
    outcome = Outcome(model, Finish(FinishReason.STOP, Usage(1000, 0, 0, 100), 1.0), CacheNote(result))
    assert cost_of(outcome, PRICES, baseline) is None


@pytest.mark.parametrize("baseline", [None, "gone", UNPRICED])
def test_what_was_spent_counts_without_a_price_of_the_strong_model(baseline: str | None) -> None:
    """The model's own full price is the baseline then: routing has saved nothing, and what was spent is the same."""
    outcome = Outcome(SMALL, Finish(FinishReason.STOP, Usage(1000, 0, 0, 100), 1.0), CacheNote("miss"))
    found, known = cost_of(outcome, PRICES, baseline), cost_of(outcome, PRICES, LARGE)
    assert found
    assert known
    assert (found.baseline_model, found.levers[0].factor, found.levers[0].saved_nano_usd) == (SMALL, 1.0, 0)
    assert (found.levers[1:], found.actual_nano_usd) == (known.levers[1:], known.actual_nano_usd)


def test_nothing_is_priced_before_the_catalogue_is_known() -> None:
    """Without prices there is no cost."""
    outcome = Outcome(SMALL, Finish(FinishReason.STOP, Usage(1000, 0, 0, 100), 1.0), CacheNote("miss"))
    assert cost_of(outcome, {}, None) is None


def test_unknown_tokens_are_unpriced() -> None:
    """Where the provider does not say how many tokens there were, there is no cost, not a cost of nothing."""
    outcome = Outcome("strong", Finish(FinishReason.STOP, None), CacheNote("miss"))
    assert cost_of(outcome, {"strong": ListPrice(1.0, 1.0, 1.0, 1.0)}, "strong") is None
