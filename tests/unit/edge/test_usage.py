"""The sums that a tenant reads are the sums of its receipts."""

from hypothesis import given, settings
from hypothesis import strategies as st

from services.edge.chat import CacheNote, Finish, FinishReason, Outcome, Usage
from services.edge.quality_budget import QualityBudget
from services.edge.receipt import LEVERS, Latency, Receipt, cost_of
from services.edge.usage import UsageBook
from tests.unit.edge.parts import LARGE, LARGE_PRICE, SMALL, SMALL_PRICE, UNPRICED

RESULTS = ["exact_hit", "semantic_hit", "shared", "miss", "bypassed"]
outcomes = st.builds(
    Outcome,
    st.sampled_from([SMALL, LARGE, UNPRICED]),
    st.builds(
        Finish,
        st.just(FinishReason.STOP),
        st.builds(Usage, st.integers(50, 10_000), st.integers(0, 25), st.integers(0, 25), st.integers(0, 1000)),
        st.floats(0, 10),
    ),
    st.builds(CacheNote, st.sampled_from(RESULTS)),
)


def receipt(outcome: Outcome) -> Receipt:
    cost = cost_of(outcome, {SMALL: SMALL_PRICE, LARGE: LARGE_PRICE, UNPRICED: None}, LARGE)
    return Receipt("r", outcome, cost, Latency(0.1, 0.2, 0.1), QualityBudget(0.02, 0.01, 0.01))


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), outcomes), max_size=20))
def test_totals_are_the_sum_of_the_receipts(answered: list[tuple[str, Outcome]]) -> None:
    """Every figure of a tenant is the sum over its receipts and over its models, to the nano-dollar."""
    book = UsageBook()
    receipts = [(tenant, receipt(outcome)) for tenant, outcome in answered]
    for tenant, one in receipts:
        book.add(tenant, one)
    for tenant in ("a", "b"):
        own = [one for whose, one in receipts if whose == tenant]
        costs = [one.cost for one in own if one.cost]
        total = book.total(tenant)
        assert total.requests == len(own)
        assert {result: total.results.get(result, 0) for result in RESULTS} == {
            result: sum(one.outcome.cache.result == result for one in own) for result in RESULTS
        }
        assert total.usage == sum((one.outcome.finish.usage or Usage() for one in own), Usage())
        assert total.unpriced_requests == len(own) - len(costs)
        assert total.baseline_nano_usd == sum(cost.baseline_nano_usd for cost in costs)
        assert total.actual_nano_usd == sum(cost.actual_nano_usd for cost in costs)
        for i in range(len(LEVERS)):
            assert total.saved_nano_usd[i] == sum(cost.levers[i].saved_nano_usd for cost in costs)
        assert total.baseline_nano_usd - sum(total.saved_nano_usd) == total.actual_nano_usd
        models = book.by_model(tenant)
        assert list(models) == sorted({one.outcome.model for one in own})
        for name in ("requests", "unpriced_requests", "baseline_nano_usd", "actual_nano_usd"):
            assert getattr(total, name) == sum(getattr(part, name) for part in models.values())


@settings(max_examples=40)
@given(st.lists(outcomes, min_size=1, max_size=10))
def test_factors_lead_from_baseline_to_actual(answered: list[Outcome]) -> None:
    """The factors over all requests multiply to what was spent of the baseline."""
    book = UsageBook()
    for outcome in answered:
        book.add("a", receipt(outcome))
    total, left = book.total("a"), 1.0
    for factor in total.factors():
        left *= factor
    assert abs(left * total.baseline_nano_usd - total.actual_nano_usd) <= 1e-6 * total.baseline_nano_usd + 1e-6


def test_an_unknown_tenant_has_used_nothing() -> None:
    """Asking for a tenant answers zeros, and does not make it known."""
    book = UsageBook()
    assert book.total("nobody").requests == 0
    assert book.total("nobody").factors() == [1.0] * len(LEVERS)
    assert book.by_model("nobody") == {}
    assert not book._total
    assert not book._by_model
