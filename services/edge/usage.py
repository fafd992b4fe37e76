"""Sums of receipts by tenant and model since this process started."""

import time
from collections import defaultdict
from dataclasses import dataclass, field

from services.edge.chat import Usage
from services.edge.receipt import LEVERS, Receipt


@dataclass(slots=True)
class Totals:
    """Sums over requests; nano-dollars count priced requests only."""

    requests: int = 0
    results: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    usage: Usage = field(default_factory=Usage)
    unpriced_requests: int = 0
    baseline_nano_usd: int = 0
    saved_nano_usd: list[int] = field(default_factory=lambda: [0] * len(LEVERS))
    actual_nano_usd: int = 0

    def add(self, receipt: Receipt) -> None:
        """Counts one receipt."""
        self.requests += 1
        self.results[receipt.outcome.cache.result] += 1
        self.usage += receipt.outcome.finish.usage or Usage()
        if receipt.cost is None:
            self.unpriced_requests += 1
            return
        self.baseline_nano_usd += receipt.cost.baseline_nano_usd
        for i, lever in enumerate(receipt.cost.levers):
            self.saved_nano_usd[i] += lever.saved_nano_usd
        self.actual_nano_usd += receipt.cost.actual_nano_usd

    def factors(self) -> list[float]:
        """What each lever left of what it found, over all requests."""
        left, factors = self.baseline_nano_usd, []
        for saved in self.saved_nano_usd:
            factors.append((left - saved) / left if left else 1.0)
            left -= saved
        return factors


class UsageBook:
    """Totals of each tenant, all models together and by model."""

    def __init__(self) -> None:
        self.start_time = time.time()
        self._total: dict[str, Totals] = defaultdict(Totals)
        self._by_model: dict[str, dict[str, Totals]] = defaultdict(lambda: defaultdict(Totals))

    def add(self, tenant: str, receipt: Receipt) -> None:
        """Counts one receipt."""
        self._total[tenant].add(receipt)
        self._by_model[tenant][receipt.outcome.model].add(receipt)

    def total(self, tenant: str) -> Totals:
        """The tenant's sums."""
        return self._total.get(tenant) or Totals()

    def by_model(self, tenant: str) -> dict[str, Totals]:
        """The tenant's sums by model, in name order."""
        return dict(sorted(self._by_model.get(tenant, {}).items()))
