"""Every execution is on the books from before it begins, so that what it took is known however it ends."""

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from services.edge.catalogue import Catalogue
from services.edge.chat import CacheNote, Finish, FinishReason, Outcome, Request, Spent, Usage
from services.edge.execution import Execution
from services.edge.ledger import Ledger, opening
from services.edge.ledger_file import Opened
from services.edge.price import MachinePrice
from services.edge.receipt import Cost, cost_of, set_aside

_BYTES_A_TOKEN = 4  # of English text, in most vocabularies


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
        opened = opening(request, model)
        await self._ledger.open(opened)
        try:
            yield opened
        except (asyncio.CancelledError, GeneratorExit):
            self._abandon(opened, request, execution, "cancelled")
            raise
        except BaseException:
            self._abandon(opened, request, execution, "failed")
            raise

    async def settle(self, opened: Opened, outcome: Outcome) -> Executed:
        """Closes a line with the receipt of its answer.

        Raises:
            Unavailable: it cannot be written.
        """
        cost = self._cost(outcome)
        return Executed(outcome, await self._ledger.settle(opened, outcome, cost), cost)

    @asynccontextmanager
    async def aside(self, request: Request, execution: Execution, model: str, kind: str) -> AsyncGenerator[None, None]:
        """An open line while an execution lasts that is nobody's answer, closed as of its kind however it ends.

        Raises:
            Unavailable: it cannot be written, so nothing may begin.
        """
        opened = opening(request, model)
        await self._ledger.open(opened)
        state = kind
        try:
            yield
        except Exception:
            state = kind if execution.begun else "failed"
            raise
        finally:
            self._abandon(opened, request, execution, state)

    def _abandon(self, opened: Opened, request: Request, execution: Execution, state: str) -> None:
        in_vain = state == "failed" and not execution.begun
        if not execution.model or not execution.attempts or (in_vain and not execution.discarded):
            self._ledger.discard(opened)
            return
        usage = cost = None
        spent = None if in_vain else self.spent(request, execution)
        if spent is None and execution.discarded:
            spent = Spent(Usage(), 0.0)
        if spent:
            finish = Finish(FinishReason.STOP, spent.usage, spent.machine_s)
            outcome = Outcome(execution.model, finish, CacheNote("miss"), discarded=execution.discarded)
            usage, cost = spent.usage, self._cost(outcome)
        opened = replace(opened, model=execution.model)  # the first of the plan may have handed over
        self._ledger.abandon(opened, state, usage, cost, execution.attempts)

    def spent(self, request: Request, execution: Execution) -> Spent | None:
        """What the model asked last took; of a server that tells at the end alone, an estimate by what was said.

        None where a machine of ours has said nothing yet, as nobody counted what it did.
        """
        price = self._catalogue.prices.get(execution.model or "")
        if execution.spent or (isinstance(price, MachinePrice) and not execution.begun):
            return execution.spent
        read, said = (math.ceil(size / _BYTES_A_TOKEN) for size in (request.size_bytes, execution.said_bytes))
        return Spent(Usage(input_tokens=read, output_tokens=said), 0.0)

    def paid(self, request: Request, execution: Execution) -> float | None:
        """Nano-dollars of all that models took so far; None where the last has said nothing, or one's are not known."""
        price = self._catalogue.prices.get(execution.model or "")
        spent = self.spent(request, execution) if execution.begun else None
        aside = set_aside(execution.discarded, self._catalogue.prices)
        return price.actual(spent.usage, spent.machine_s) + aside if price and spent and aside is not None else None

    def _cost(self, outcome: Outcome) -> Cost | None:
        return cost_of(outcome, self._catalogue.prices, self._catalogue.default)
