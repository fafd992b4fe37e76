"""The sums that the ledger keeps are the sums of its receipts."""

import math
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.edge.chat import CacheNote, Finish, FinishReason, Outcome, Usage
from services.edge.ledger_file import DAY_NS, Entry, LedgerFile, Opened
from services.edge.ledger_sums import FIRST, LedgerSums
from services.edge.price import Price
from services.edge.receipt import LEVERS, cost_of
from services.edge.usage import Totals, abandoned, answered
from tests.unit.edge.parts import LARGE, LARGE_PRICE, SMALL, SMALL_PRICE, UNPRICED

PRICES: dict[str, Price | None] = {SMALL: SMALL_PRICE, LARGE: LARGE_PRICE, UNPRICED: None}
RESULTS = {"exact_hit": "exact_hits", "semantic_hit": "semantic_hits", "shared": "shared", "miss": "", "bypassed": ""}
outcomes = st.builds(
    Outcome,
    st.sampled_from([SMALL, LARGE, UNPRICED]),
    st.builds(
        Finish,
        st.just(FinishReason.STOP),
        st.none()
        | st.builds(Usage, st.integers(50, 10_000), st.integers(0, 25), st.integers(0, 25), st.integers(0, 1000)),
        st.floats(0, 10),
    ),
    st.builds(CacheNote, st.sampled_from(list(RESULTS))),
)
lines = st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 3), outcomes, st.booleans())


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(lines, max_size=20))
def test_totals_are_the_sum_of_the_receipts(
    tmp_path_factory: object, asked: list[tuple[str, int, Outcome, bool]]
) -> None:
    """Every figure, split every way, is the sum over its receipts, to the nano-dollar."""
    folder = tmp_path_factory.mktemp("usage")  # type: ignore[attr-defined]
    file = LedgerFile(folder / "ledger.sqlite", False)
    written: list[tuple[str, int, str, Totals]] = []
    with file.transaction():
        for number, (tenant, day, outcome, answers) in enumerate(asked):
            cost = cost_of(outcome, PRICES, LARGE)
            amounts = answered(outcome, cost) if answers else abandoned(outcome.finish.usage, cost)
            opened = Opened(str(number), tenant, "key", "r", outcome.model, day * DAY_NS + 5)
            file.settle(Entry(opened, "answered", 1, 9, amounts))
            written.append((tenant, day, outcome.model, amounts))
            assert amounts.baseline_nano_usd - sum(amounts.saved_nano_usd) == amounts.actual_nano_usd
            assert (amounts.requests, amounts.abandoned) == ((1, 0) if answers else (0, 1))
            assert amounts.unpriced_requests == (cost is None)
            if answers and RESULTS[outcome.cache.result]:
                assert getattr(amounts, RESULTS[outcome.cache.result]) == 1
    sums = LedgerSums(folder / "ledger.sqlite")
    for whose in (None, "a", "b"):
        own = [one for one in written if whose in (None, one[0])]
        split = sums.groups(whose, (0, 9), frozenset({"tenant", "day", "model"}), FIRST, 100)
        keys = sorted({one[:3] for one in own})
        assert [(group.tenant, group.day, group.model) for group in split] == keys
        for group, key in zip(split, keys, strict=True):
            assert group.totals == sum((one[3] for one in own if one[:3] == key), Totals())
        whole = sums.groups(whose, (0, 9), frozenset(), FIRST, 1)
        assert [group.totals for group in whole] == ([sum((one[3] for one in own), Totals())] if own else [])
        assert file.spent_nano_usd(whose or "a", 1, 2) == sum(
            one[3].actual_nano_usd for one in written if one[0] == (whose or "a") and 1 <= one[1] <= 2
        )
    sums.close()
    file.close()


@settings(max_examples=40)
@given(st.lists(outcomes, min_size=1, max_size=10))
def test_factors_lead_from_baseline_to_actual(asked: list[Outcome]) -> None:
    """The factors over all requests multiply to what was spent of the baseline."""
    total = sum((answered(outcome, cost_of(outcome, PRICES, LARGE)) for outcome in asked), Totals())
    left = math.prod(total.factors())
    assert len(total.factors()) == len(LEVERS)
    assert abs(left * total.baseline_nano_usd - total.actual_nano_usd) <= 1e-6 * total.baseline_nano_usd + 1e-6


def test_pages_meet_end_to_end(tmp_path: Path) -> None:
    """Page after page gives every group once, in order, whatever is written meanwhile behind the page's end."""
    file = LedgerFile(tmp_path / "ledger.sqlite", False)
    keys = [(f"t{tenant}", day, f"m{model}") for tenant in range(3) for day in range(3) for model in range(3)]
    with file.transaction():
        for tenant, day, model in keys:
            opened = Opened(f"{tenant}{day}{model}", tenant, "", "", model, day * DAY_NS)
            file.settle(Entry(opened, "answered", 1, 0, Totals(requests=1)))
    sums = LedgerSums(tmp_path / "ledger.sqlite")
    seen, after = [], FIRST
    while page := sums.groups(None, (0, 9), frozenset({"tenant", "day", "model"}), after, 4):
        after = (page[-1].tenant, page[-1].day, page[-1].model)
        seen += [(group.tenant, group.day, group.model) for group in page]
    assert seen == keys
    sums.close()
    file.close()
