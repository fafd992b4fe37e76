"""The decisions made lately, so that an answer can be judged and scored against its plan."""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from services.chassis.errors import NotFound
from services.router.plan import Plan, Planned


class Decisions:
    """The last plans by id; the oldest is forgotten first."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._plans: OrderedDict[str, Plan] = OrderedDict()
        self._scores: dict[str, dict[str, float]] = {}
        self._assessed: set[str] = set()
        self._words: dict[str, dict[str, asyncio.Task[None]]] = {}
        self._tenants: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._plans)

    def remember(self, plan: Plan, tenant: str) -> str:
        """A new id for the plan, made for a tenant."""
        decision_id = secrets.token_hex(16)
        self._plans[decision_id] = plan
        self._tenants[decision_id] = tenant
        if len(self._plans) > self._capacity:
            forgotten, _ = self._plans.popitem(last=False)
            self._tenants.pop(forgotten)
            self._scores.pop(forgotten, None)
            self._assessed.discard(forgotten)
            self._words.pop(forgotten, None)
        return decision_id

    def recall(self, decision_id: str, tenant: str | None = None) -> Plan:
        """The plan of a decision, of a tenant if one is given; NotFound where it was never made or is forgotten."""
        plan = self._plans.get(decision_id)
        if plan is None or tenant not in (None, self._tenants[decision_id]):
            raise NotFound("decision_id", decision_id, f"an id from one of the last {self._capacity} of Route")
        return plan

    def assessed(self, decision_id: str, promised: bool) -> bool:
        """Notes whether the answer to a known decision passed its check, and so is promised; tells if that is new."""
        if decision_id in self._assessed:
            return False
        self._assessed.add(decision_id)
        self._plans[decision_id] = self._plans[decision_id]._replace(promised=promised)
        return True

    async def hear(self, decision_id: str, model: str, write: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Writes a client's word on a model's answer to a known decision, if it is the first that could be written.

        A caller who leaves does not stop it; whoever comes meanwhile waits for it, and fails as it does.
        """
        words = self._words.setdefault(decision_id, {})
        if model not in words:

            def done(task: asyncio.Task[None]) -> None:
                if task.cancelled() or task.exception():
                    del words[model]

            words[model] = asyncio.create_task(write())
            words[model].add_done_callback(done)
        await asyncio.shield(words[model])

    def score(self, decision_id: str, model: str, score: float) -> Mapping[str, float]:
        """Every model's score so far of a decision that is known, this one with them; a model's first one counts."""
        scores = self._scores.setdefault(decision_id, {})
        known = model in scores
        scores.setdefault(model, score)
        return {} if known else scores


def place(plan: Plan, model: str, field: str) -> Planned:
    """The model within a plan; NotFound where it is not part of it, naming the request's field."""
    for planned in plan.models:
        if planned.model == model:
            return planned
    names = ", ".join(planned.model for planned in plan.models)
    raise NotFound(field, model, f"one of the plan: {names}", reason="MODEL_UNKNOWN")
