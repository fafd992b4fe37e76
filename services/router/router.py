"""The router as a whole: catalogue, policy, the decisions made lately and the log of how they turned out."""

import asyncio
from functools import partial

import structlog

from services.router.assessment import Assessment, Signals, assess
from services.router.catalogue import Catalogue, load_catalogue
from services.router.decisions import Decisions, place
from services.router.drift import Basis, PromiseState
from services.router.eligibility import Eligibility
from services.router.outcome_log import CLIENT, Draw, Outcome, OutcomeLog
from services.router.plan import Plan
from services.router.policy import Policy
from services.router.predictor_file import PredictorFile
from services.router.prompt_digest import PromptDigest, kept_key
from services.router.query import Objective, Query
from services.router.settings import RouterSettings


class Router:
    """Answers from memory: nothing here waits but the outcome log."""

    def __init__(
        self,
        eligibility: Eligibility,
        file: PredictorFile | None,
        decisions: Decisions,
        objective: Objective,
        outcomes: OutcomeLog | None = None,
        digest: PromptDigest | None = None,
    ) -> None:
        """`objective` is the operator's: it holds wherever a request sets nothing; `digest` is for `outcomes`.

        Raises:
            ConfigError: the predictor's file cannot be used.
        """
        self.objective = objective
        self.models = eligibility.models
        self._eligibility = eligibility
        self._file = file
        self._policy = Policy(eligibility, file.read() if file else None, heeds_shift=True).warmed(objective)
        self._decisions = decisions
        self._outcomes, self._digest = outcomes, digest
        self._following: asyncio.Task[None] | None = None

    @property
    def promise(self) -> PromiseState:
        """What is known of whether the promise is kept."""
        return self._policy.promise

    def route(self, query: Query) -> tuple[str, Plan]:
        """A decision's id and its plan; errors as `Policy.plan`."""
        plan = self._policy.plan(query)
        if self._digest:
            plan = plan._replace(group=self._digest.of(query.tenant, query.text))
        return self._decisions.remember(plan, query.tenant), plan

    def assess(self, decision_id: str, signals: Signals) -> Assessment:
        """Judges an answer; NotFound where the decision is forgotten or the model is not of its plan."""
        plan = self._decisions.recall(decision_id)
        found = assess(plan, signals)
        if plan.check and signals.model == plan.models[0].model:
            kept = not found.escalate_to
            if self._decisions.assessed(decision_id, promised=kept):
                self._policy.assessed(plan, kept)
        return found

    async def feedback(
        self, decision_id: str, model: str, score: float, source: str, drawn: Draw, tenant: str | None = None
    ) -> None:
        """Logs a score from 0 to 1 where a log is set; of clients' words, which move no alarm, each answer's first.

        NotFound as `assess`, or where the decision is not of the `tenant` that is given; else as `OutcomeLog.append`.
        """
        plan = self._decisions.recall(decision_id, tenant)
        planned = place(plan, model, "model")
        if source != CLIENT:
            self._policy.scored(plan, model, self._decisions.score(decision_id, model, score), Basis.of(source))
        if self._outcomes:
            known = plan.version, plan.group, plan.unfamiliar, plan.bound, plan.contested_losses, plan.excluded
            outcome = Outcome(decision_id, planned, score, source, *known, drawn.sampled, drawn.explored)
            write = partial(self._outcomes.append, outcome)
            await (self._decisions.hear(decision_id, model, write) if source == CLIENT else write())

    def follow(self) -> None:
        """Decides by each predictor that replaces the file's; decisions that were made stay as they are."""
        if self._file:
            self._following = asyncio.create_task(self._follow(self._file))

    async def _follow(self, file: PredictorFile) -> None:
        async for predictor in file.changes():
            policy = Policy(self._eligibility, predictor, self._policy, heeds_shift=True)
            self._policy = await asyncio.to_thread(policy.warmed, self.objective)

    async def close(self) -> None:
        """Writes what the log still holds."""
        if self._following:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        if self._outcomes:
            await self._outcomes.close()


def load_router(settings: RouterSettings) -> Router:
    """Reads catalogue and predictor and warms up; blocks.

    Raises:
        ConfigError: a file that cannot be used.
    """
    catalogue = load_catalogue(settings.catalogue, settings.prices)
    _tell_unpriced(catalogue)
    file = PredictorFile(settings.predictor, catalogue.default.name) if settings.predictor else None
    outcomes = OutcomeLog(settings.outcome_log, settings.outcome_log_max_bytes) if settings.outcome_log else None
    digest = PromptDigest(kept_key(settings.outcome_log)) if settings.outcome_log else None
    return Router(
        Eligibility(catalogue, settings.expected_output_tokens),
        file,
        Decisions(settings.remembered_decisions),
        Objective(settings.max_quality_loss, settings.confidence),
        outcomes,
        digest,
    )


def _tell_unpriced(catalogue: Catalogue) -> None:
    unpriced = [model.name for model in catalogue.models if model.price is None]
    if unpriced:
        structlog.get_logger("router").warning(
            "models without a price: no receipt or budget counts what they cost",
            models=unpriced,
            remedy="give each a price in router.catalogue or router.prices, or the provider that publishes it",
        )
