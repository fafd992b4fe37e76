"""Asks a model the same thing again: how many of its other answers agree with the first tells how sure it was."""

import asyncio
import math
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from services.chassis.errors import DeadlineExceeded, FulcrumError, Overloaded
from services.edge.accounts import Accounts
from services.edge.attempts import Attempts
from services.edge.chat import PlannedModel, Sampling, TextDelta
from services.edge.execution import Execution
from services.edge.execution_gate import ExecutionGate
from services.edge.judges import equal
from services.edge.ports import EXECUTOR, Plan
from services.edge.work import Work

LEAST_TEMPERATURE = 0.7


@dataclass(frozen=True, slots=True)
class Agreement:
    """The share of repeats that agree, None where there is none; `failed` is whether the model itself failed at any."""

    share: float | None
    failed: bool


class Repeating:
    """Repeats are part of the request: its time is theirs, and it pays for them; each has a place at the gate."""

    def __init__(self, attempts: Attempts, accounts: Accounts, gate: ExecutionGate) -> None:
        self._attempts = attempts
        self._accounts = accounts
        self._gate = gate

    def has_room(self, repeats: int) -> bool:
        """Whether there are places for so many now."""
        return self._gate.room >= repeats

    async def agreement(self, work: Work, execution: Execution, said: str, repeats: int, deadline: float) -> Agreement:
        """How many of `repeats` more answers of the model asked last agree with what it `said`.

        They run side by side, and none outlives this. One that fails or is not there by the `deadline`, in monotonic
        seconds, agrees with nothing; where no other is there either, nothing is known. What they took is added to the
        execution.
        """
        model = execution.model or ""
        again = [replace(work.request, sampling=_hot(work.request.sampling, number)) for number in range(repeats)]
        asked = [(Execution(self._attempts, Work(request, 0.0, 0.0)), request) for request in again]
        begin = time.monotonic()
        left_s = deadline - begin
        running: list[asyncio.Task[str | FulcrumError]] = []
        try:
            async with asyncio.timeout(left_s if math.isfinite(left_s) else None), asyncio.TaskGroup() as group:
                running += [group.create_task(self._answer(one, model)) for one, _ in asked]
        except TimeoutError:
            pass
        finally:
            took = [(one, self._accounts.spent(request, one)) for one, request in asked]
            execution.beside(took, time.monotonic() - begin)
        found = [task.result() for task in running if not task.cancelled()]
        answers = [one for one in found if isinstance(one, str)]
        share = agreeing(said, answers) / repeats if answers else None
        return Agreement(share, any(isinstance(one, FulcrumError) and _is_failure(one) for one in found))

    async def _answer(self, execution: Execution, model: str) -> str | FulcrumError:
        """What is said, or what it fails with, be it for want of a place."""
        plan = Plan("", (PlannedModel(model),), "a repeat")
        try:
            with self._gate.place() as executing:
                executing()
                async with aclosing(execution.run(plan)) as events:
                    return "".join([event.text async for event in events if isinstance(event, TextDelta)])
        except FulcrumError as error:
            return error


def agreeing(said: str, answers: Sequence[str]) -> int:
    """How many answers are written as what was `said` is (`services.edge.words.written`)."""
    return sum(equal(said, answer) is True for answer in answers)


def _is_failure(error: FulcrumError) -> bool:
    """Whether a model failed, rather than that it was busy, the time was short or nobody reached it."""
    return not (isinstance(error, DeadlineExceeded | Overloaded) or error.elsewhere or error.field == EXECUTOR)


def _hot(sampling: Sampling, number: int) -> Sampling:
    """Drawn by chance of all tokens, each by its own: who is not sure says something else then."""
    temperature = max(sampling.temperature or 0.0, LEAST_TEMPERATURE)
    seed = None if sampling.seed is None else sampling.seed ^ (number + 1)  # stays within 64 bits
    return replace(sampling, temperature=temperature, top_p=None, top_k=None, seed=seed, top_logprobs=None)
