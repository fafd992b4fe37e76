"""The router's plan for a request, by what edge knows of conversations and speeds, and what an answer adds to that."""

from dataclasses import replace

from services.chassis.errors import FulcrumError
from services.edge.catalogue import Catalogue
from services.edge.chat import Objective, Outcome
from services.edge.conversations import Conversations
from services.edge.execution import Execution
from services.edge.ports import Circumstances, Embedding, Plan, Router
from services.edge.speeds import Speeds
from services.edge.work import Work

_MOST_HELD = 0.1  # of an answer's time by a slow reader, up to which that time tells how fast the model is


class Planning:
    """Asks the router; `remembered_turns` and `prefix_kept_s` are those of `Conversations`."""

    def __init__(self, router: Router, catalogue: Catalogue, remembered_turns: int, prefix_kept_s: float) -> None:
        self._router = router
        self._catalogue = catalogue
        self._conversations = Conversations(remembered_turns, prefix_kept_s)
        self._speeds = Speeds()

    async def plan(self, work: Work, embedding: Embedding | None) -> Plan | None:
        """The plan within the router's share of the quality budget; None where the router is away."""
        objective = replace(work.request.objective, max_quality_loss=work.budget.router_share)
        held = self._conversations.before(work.turns)
        speeds = self._speeds.known() if objective.max_latency_s or objective.goal == "FASTEST" else {}
        known = Circumstances(held.model, held.tokens, speeds) if held else Circumstances(speeds=speeds)
        route = self._route(work, embedding, objective, known)
        return await work.advisory("router", "the strong model answers", route)

    async def _route(self, work: Work, embedding: Embedding | None, objective: Objective, known: Circumstances) -> Plan:
        """The router's plan; one without predictions where it refuses the embedding, as that of another encoder."""
        try:
            return await self._router.route(work.request, embedding, objective, known)
        except FulcrumError as error:
            if embedding is None or not error.field.startswith("embedding."):
                raise
            work.do_without("router", error, "no prediction, so the strong model answers")
        return await self._router.route(work.request, None, objective, known)

    def without_router(self, work: Work) -> Plan:
        """The strongest model that the request's limits leave; Unavailable where none is known."""
        return self._catalogue.plan_without_router(work.request, self._speeds.known())

    def learn(self, work: Work, execution: Execution, outcome: Outcome) -> None:
        """Notes what later routes go by: who holds this conversation, and how fast its model was."""
        self._conversations.after(work.turns, outcome, self._catalogue.prices.get(outcome.model))
        at_its_own_pace = execution.held_s <= _MOST_HELD * execution.answer_s
        if at_its_own_pace and self._catalogue.knows(outcome.model) and (usage := outcome.finish.usage):
            self._speeds.note(outcome.model, execution.first_token_s, execution.answer_s, usage.output_tokens)
