"""What clients say reaches cache and router, within the tenant's rate, one of them also where the other fails."""

from dataclasses import replace

import pytest

from services.chassis.errors import (
    DeadlineExceeded,
    FulcrumError,
    Internal,
    InvalidField,
    NotFound,
    Overloaded,
    Unavailable,
)
from services.edge.feedback import Feedback, Word
from services.edge.settings import TenantLimits
from tests.unit.edge.parts import SMALL, Bench, request

WORD = Word("acme", "key a", "l1", "d1", SMALL, right=False)


def feedback(bench: Bench) -> Feedback:
    return Feedback(bench.cache, bench.router, bench.pipeline.limits)


@pytest.mark.parametrize(
    ("word", "reports"),
    [
        (WORD, [("acme", "key a", "l1", False), ("acme", "d1", SMALL, False)]),
        (replace(WORD, decision_id="", right=True), [("acme", "key a", "l1", True)]),
        (replace(WORD, lookup_id=""), [("acme", "d1", SMALL, False)]),
    ],
    ids=["made and stored", "from the cache", "not looked up"],
)
async def test_who_is_told(word: Word, reports: list[tuple[object, ...]]) -> None:
    """Whomever the receipt names, for whom the server found the caller to be."""
    async with Bench() as bench:
        await feedback(bench).tell(word)
        assert [*bench.cache.reports, *bench.router.reports] == reports


@pytest.mark.parametrize("part", ["cache", "router"])
async def test_a_part_that_fails_hides_nothing_from_the_other(part: str) -> None:
    """The caller hears of it, and may say all of it again."""
    async with Bench() as bench:
        failing, other = (bench.cache, bench.router) if part == "cache" else (bench.router, bench.cache)
        failing.report_error = Unavailable(part, "gone", "there")
        with pytest.raises(Unavailable, match=part):
            await feedback(bench).tell(WORD)
        assert len(other.reports) == 1


GONE = NotFound("lookup_id", "l1", "an id from one of the last 9 of Lookup")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Unavailable("router.outcome_log", "full", "room"), Unavailable),
        (DeadlineExceeded("router", "late", "an answer"), DeadlineExceeded),
        (Overloaded("router outcomes", "9 waiting", "at most 9", retry_after_s=1.0), Overloaded),
        (Internal("router", "a defect", "an answer"), Internal),
        (NotFound("decision_id", "d1", "an id from one of the last 9 of Route"), NotFound),
    ],
)
@pytest.mark.parametrize("forgets", ["cache", "router"])
async def test_of_two_failures_what_a_repeat_may_mend_is_told(
    forgets: str, error: FulcrumError, code: type[FulcrumError]
) -> None:
    """What is forgotten for good is told only where there is nothing else to tell, whoever forgot it."""
    async with Bench() as bench:
        failing, other = (bench.cache, bench.router) if forgets == "cache" else (bench.router, bench.cache)
        failing.report_error, other.report_error = GONE, error
        with pytest.raises(code):
            await feedback(bench).tell(WORD)


@pytest.mark.parametrize(("field", "path"), [("lookup_id", "cache.lookup_id"), ("decision_id", "route.decision_id")])
async def test_what_is_forgotten_is_named_as_on_the_receipt(field: str, path: str) -> None:
    """A client knows neither Lookup nor Route."""
    async with Bench() as bench:
        bench.cache.report_error = NotFound(field, "x1", "an id from one of the last 9 of Lookup, or of Route")
        with pytest.raises(NotFound, match=f"{field}: got 'x1', expected {path} of a receipt") as caught:
            await feedback(bench).tell(WORD)
        assert caught.value.reason == "ID_UNKNOWN"
        assert "Lookup" not in str(caught.value)


async def test_a_word_takes_from_the_tenants_rate_and_not_from_its_budgets() -> None:
    """Beyond the rate it says when to come back, and nobody was told; others' words are heard."""
    limits = TenantLimits(requests_per_second=0.001, burst=2, requests_per_day=1)
    async with Bench(limits=limits) as bench:
        await bench.ask(request(tenant="acme"))
        await feedback(bench).tell(WORD)
        with pytest.raises(Overloaded) as caught:
            await feedback(bench).tell(WORD)
        assert (caught.value.reason, len(bench.cache.reports)) == ("RATE_LIMITED", 1)
        assert caught.value.retry_after_s
        await feedback(bench).tell(replace(WORD, tenant="rival"))


@pytest.mark.parametrize(
    ("word", "field"),
    [
        (replace(WORD, lookup_id="", decision_id=""), "lookup_id"),
        (replace(WORD, model=""), "model"),
    ],
)
async def test_a_word_on_nothing_takes_nothing_from_the_rate(word: Word, field: str) -> None:
    """It is refused by the field that lacks."""
    async with Bench(limits=TenantLimits(requests_per_second=0.001, burst=1)) as bench:
        with pytest.raises(InvalidField) as caught:
            await feedback(bench).tell(word)
        assert caught.value.field == field
        await feedback(bench).tell(WORD)
