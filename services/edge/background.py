"""Asks a model beside the requests' path: on the books of the tenant whose request it is about, and nobody's answer."""

from contextlib import aclosing

from services.edge.accounts import Accounts
from services.edge.attempts import Attempts
from services.edge.chat import PlannedModel, Request, TextDelta
from services.edge.execution import Execution
from services.edge.ports import Plan
from services.edge.work import Work


class BackgroundCalls:
    """Executions that a judge or a shadow makes; each is a line of the ledger."""

    def __init__(self, attempts: Attempts, accounts: Accounts) -> None:
        self._attempts = attempts
        self._accounts = accounts

    async def answer(self, request: Request, model: str, kind: str) -> str:
        """The text that one model, and no other, answers a request without tools with.

        Args:
            request: whose tenant pays.
            model: who is asked.
            kind: the state of its line in the ledger.

        Raises:
            FulcrumError: it cannot be asked, or fails.
        """
        execution = Execution(self._attempts, Work(request, 0.0, 0.0))
        running = aclosing(execution.run(Plan("", (PlannedModel(model),), kind)))
        async with self._accounts.aside(request, execution, model, kind), running as events:
            return "".join([event.text async for event in events if isinstance(event, TextDelta)])
