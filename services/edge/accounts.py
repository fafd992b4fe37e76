"""Every execution is on the books from before it begins, so that what it took is known however it ends."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from services.edge.catalogue import Catalogue
from services.edge.chat import CacheNote, Finish, FinishReason, Outcome, Request
from services.edge.execution import Execution
from services.edge.ledger import Ledger
from services.edge.ledger_file import Opened
from services.edge.receipt import Cost, cost_of


@dataclass(frozen=True, slots=True)
class Executed:
    """An outcome whose receipt is in the ledger; `cost` is None where a price is unknown."""

    outcome: Outcome
    receipt_id: str
    cost: Cost | None


class Accounts:
    """What answers cost, written to the ledger as it becomes known."""

    def __init__(self, ledger: Ledger, catalogue: Catalogue) -> None:
        self._ledger = ledger
        self._catalogue = catalogue

    async def reused(self, request: Request, outcome: Outcome) -> Executed:
        """Writes the receipt of an answer that nothing was executed for.

        Raises:
            Unavailable: it cannot be written.
        """
        cost = self._cost(outcome)
        return Executed(outcome, await self._ledger.reused(request, outcome, cost), cost)

    @asynccontextmanager
    async def line(self, request: Request, execution: Execution, model: str) -> AsyncGenerator[Opened, None]:
        """An open line of the ledger while an execution lasts; one that fails is closed with what it took by then.

        Raises:
            Unavailable: it cannot be written, so nothing may begin.
        """
        opened = await self._ledger.open(request, model)
        try:
            yield opened
        except (asyncio.CancelledError, GeneratorExit):
            self._abandon(opened, execution, "cancelled")
            raise
        except BaseException:
            self._abandon(opened, execution, "failed")
            raise

    async def settle(self, opened: Opened, outcome: Outcome) -> Executed:
        """Closes a line with the receipt of its answer.

        Raises:
            Unavailable: it cannot be written yet.
        """
        cost = self._cost(outcome)
        return Executed(outcome, await self._ledger.settle(opened, outcome, cost), cost)

    def _abandon(self, opened: Opened, execution: Execution, state: str) -> None:
        spent = execution.spent
        if state == "failed" and not execution.begun:
            self._ledger.discard(opened)
            return
        usage = cost = None
        if spent and execution.model:
            finish = Finish(FinishReason.STOP, spent.usage, spent.machine_s)
            usage, cost = spent.usage, self._cost(Outcome(execution.model, finish, CacheNote("miss")))
        self._ledger.abandon(opened, state, usage, cost, execution.attempts)

    def _cost(self, outcome: Outcome) -> Cost | None:
        return cost_of(outcome, self._catalogue.prices, self._catalogue.default)
