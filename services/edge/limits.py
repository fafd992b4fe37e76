"""What one tenant may ask for: a rate, requests at once, and budgets of requests and money that the ledger keeps."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from services.chassis.errors import Overloaded, Unavailable
from services.edge.ledger import Ledger
from services.edge.ledger_file import DAY_NS, LedgerFile
from services.edge.settings import TenantLimits

_NANO = 1_000_000_000
_PRUNE_ABOVE = 10_000  # tenants whose rate is remembered, before those that are back at rest are forgotten


class Limits:
    """Lets requests in or refuses them at once, saying when to come back.

    Rate and concurrency hold for this process; budgets for every edge that shares the ledger. A request is counted when
    it is let in, and given back where it fails before anything of its answer was sent, not where its caller leaves;
    money is counted as it is spent, so a budget is exceeded by no more than what the requests under way cost.

    Args:
        everyone: the limits of every tenant.
        tenants: what differs for some.
        ledger: knows what was spent.
        now_ns: Unix time.
        priced: whether any price is known; until then nobody who has a budget of money may spend.
    """

    def __init__(
        self,
        everyone: TenantLimits,
        tenants: dict[str, TenantLimits],
        ledger: Ledger,
        now_ns: Callable[[], int] = time.time_ns,
        priced: Callable[[], bool] = lambda: True,
    ) -> None:
        self._everyone = everyone
        self._tenants = {name: everyone.model_copy(update=_given(one)) for name, one in tenants.items()}
        self._ledger = ledger
        self._now_ns = now_ns
        self._priced = priced
        self._under_way: Counter[str] = Counter()
        self._due: dict[str, float] = {}  # when a tenant's bucket is full again, monotonic seconds

    @asynccontextmanager
    async def place(self, tenant: str) -> AsyncGenerator[Callable[[], None], None]:
        """Room for one request of the tenant while it lasts; what it yields is called once an answer has begun.

        Raises:
            Overloaded: a limit is reached.
            Unavailable: the ledger cannot be read, or the tenant's budget is of money and no price is known yet.
        """
        limits = self._tenants.get(tenant, self._everyone)
        if limits.of_money and not self._priced():
            raise Unavailable(
                "prices", "unknown", "a router that has told them once", reason="STARTING", retry_after_s=1.0
            )
        self._check_concurrency(tenant, limits)
        self.check_rate(tenant)
        self._under_way[tenant] += 1
        begun = False

        def note() -> None:
            nonlocal begun
            begun = True

        try:
            day = self._now_ns() // DAY_NS
            if limits.budgeted:
                await self._count(tenant, limits, day)
            try:
                yield note
            except Exception:
                if limits.requests_per_day is not None and not begun:
                    await self._ledger.give_back(tenant, day)  # whoever is told of it may ask another edge at once
                raise
        finally:
            self._under_way[tenant] -= 1
            if not self._under_way[tenant]:
                del self._under_way[tenant]

    async def _count(self, tenant: str, limits: TenantLimits, day: int) -> None:
        """Counts the request in; one whose caller leaves meanwhile is given back, if it was counted."""
        counting = self._ledger.submit(lambda file: self._spend_request(file, tenant, limits, day))
        try:
            await asyncio.shield(counting)
        except asyncio.CancelledError:

            def give_back(counted: "asyncio.Future[None]") -> None:
                if not counted.cancelled() and not counted.exception() and limits.requests_per_day is not None:
                    self._ledger.give_back(tenant, day)

            counting.add_done_callback(give_back)
            raise

    def _check_concurrency(self, tenant: str, limits: TenantLimits) -> None:
        limit, found = limits.concurrent_requests, self._under_way[tenant]
        if limit is not None and found >= limit:
            expected = f"fewer than {limit}"
            raise Overloaded(
                "concurrent requests", f"{found} under way", expected, reason="RATE_LIMITED", retry_after_s=0.1
            )

    def check_rate(self, tenant: str) -> None:
        """Takes from a bucket of `burst` requests that fills at the rate, kept as the time at which it is full again.

        Raises:
            Overloaded: there is nothing in it.
        """
        limits = self._tenants.get(tenant, self._everyone)
        rate = limits.requests_per_second
        if rate is None:
            return
        now, burst = time.monotonic(), limits.burst or max(1, round(rate))
        due = max(self._due.get(tenant, now), now)
        wait = due + 1 / rate - burst / rate - now
        if wait > 1e-9:
            found = f"burst of {burst} used up"
            raise Overloaded(
                "requests per second", found, f"at most {rate:g}", reason="RATE_LIMITED", retry_after_s=wait
            )
        if len(self._due) > _PRUNE_ABOVE:
            self._due = {name: at for name, at in self._due.items() if at > now}
        self._due[tenant] = due + 1 / rate

    def _spend_request(self, file: LedgerFile, tenant: str, limits: TenantLimits, day: int) -> None:
        """Counts the request in, within the ledger's transaction."""
        requests = limits.requests_per_day
        if requests is not None and file.admitted(tenant, day) >= requests:
            raise self._exhausted("requests per day", requests, f"less than {requests}", day + 1)
        for unit, limit, first, after in _budgets(limits, day):
            spent = file.spent_nano_usd(tenant, first, day)
            if spent >= limit * _NANO:
                raise self._exhausted(f"usd per {unit}", f"{spent / _NANO:.9f}", f"less than {limit:g}", after)
        if requests is not None:
            file.admit(tenant, day, 1)

    def left_nano_usd(self, file: LedgerFile, tenant: str, day: int) -> float:
        """What is left of a tenant's budgets of money, within the ledger's transaction; infinite where it has none."""
        budgets = _budgets(self._tenants.get(tenant, self._everyone), day)
        left = (limit * _NANO - file.spent_nano_usd(tenant, first, day) for _, limit, first, _ in budgets)
        return min(left, default=math.inf)

    def _exhausted(self, what: str, found: object, expected: str, until_day: int) -> Overloaded:
        wait = (until_day * DAY_NS - self._now_ns()) / 1e9
        return Overloaded(what, found, expected, reason="BUDGET_EXHAUSTED", retry_after_s=max(wait, 1.0))


def _budgets(limits: TenantLimits, day: int) -> Sequence[tuple[str, float, int, int]]:
    """Budgets of money: the unit, dollars, its first day, and the day after it."""
    begin, end = _month(day)
    units = ("day", limits.usd_per_day, day, day + 1), ("month", limits.usd_per_month, begin, end)
    return [(unit, limit, first, after) for unit, limit, first, after in units if limit is not None]


def _given(limits: TenantLimits) -> dict[str, object]:
    return {name: getattr(limits, name) for name in limits.model_fields_set}


def _month(day: int) -> tuple[int, int]:
    """First day of the month that a day since 1970 is in, and of the next."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    first = (epoch + timedelta(days=day)).replace(day=1)
    following = (first + timedelta(days=31)).replace(day=1)
    return (first - epoch).days, (following - epoch).days
