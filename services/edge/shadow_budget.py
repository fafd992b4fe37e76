"""What comparing answers may cost: within a sum of its own, and never the last of a tenant's budgets."""

import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from services.edge.ledger import Ledger
from services.edge.ledger_file import DAY_NS, LedgerFile
from services.edge.limits import Limits

SHADOW = "shadow"  # the state of its lines in the ledger
_NANO = 1_000_000_000


class ShadowBudget:
    """Sets money aside for what is under way, by the most that it may cost, so that all of it together fits.

    It holds for all edges that share the ledger, but for what is under way at the others.

    Args:
        limits: know the tenants' budgets.
        ledger: knows what was spent.
        usd_per_day: what comparisons may cost each tenant, UTC.
    """

    def __init__(self, limits: Limits, ledger: Ledger, usd_per_day: float) -> None:
        self._limits = limits
        self._ledger = ledger
        self._nano_usd_per_day = usd_per_day * _NANO
        self._set_aside: Counter[str] = Counter()

    @asynccontextmanager
    async def room(self, tenant: str, nano_usd: int) -> AsyncGenerator[bool, None]:
        """Whether so much may be spent; it is set aside while this lasts.

        Raises:
            Unavailable: the ledger cannot be read.
        """
        self._set_aside[tenant] += nano_usd
        try:
            yield await self._ledger.submit(lambda file: self._fits(file, tenant))
        finally:
            self._set_aside[tenant] -= nano_usd
            if not self._set_aside[tenant]:
                del self._set_aside[tenant]

    def _fits(self, file: LedgerFile, tenant: str) -> bool:
        day = time.time_ns() // DAY_NS
        own = self._nano_usd_per_day - file.unanswered_nano_usd(tenant, day, SHADOW)
        return self._set_aside[tenant] <= min(own, self._limits.left_nano_usd(file, tenant, day))
