"""The router as a whole: catalogue, policy, the decisions made lately and the log of how they turned out."""

import numpy as np
import structlog

from services.router.artefact import load_artefact
from services.router.assessment import Assessment, Signals, assess
from services.router.catalogue import Catalogue, load_catalogue
from services.router.decisions import Decisions, place
from services.router.drift import PromiseState
from services.router.eligibility import Eligibility
from services.router.outcome_log import Outcome, OutcomeLog
from services.router.policy import Plan, Policy
from services.router.predictor import Predictor
from services.router.query import Objective, Query
from services.router.settings import RouterSettings


class Router:
    """Answers from memory: nothing here waits but the outcome log."""

    def __init__(
        self,
        catalogue: Catalogue,
        policy: Policy,
        decisions: Decisions,
        objective: Objective,
        outcomes: OutcomeLog | None = None,
    ) -> None:
        """`objective` is the operator's: it holds wherever a request sets nothing."""
        self.catalogue = catalogue
        self.objective = objective
        self._policy = policy
        self._decisions = decisions
        self._outcomes = outcomes

    @property
    def promise(self) -> PromiseState:
        """What is known of whether the promise is kept."""
        return self._policy.promise

    def route(self, query: Query) -> tuple[str, Plan]:
        """A decision's id and its plan; errors as `Policy.plan`."""
        plan = self._policy.plan(query)
        return self._decisions.remember(plan), plan

    def assess(self, decision_id: str, signals: Signals) -> Assessment:
        """Judges an answer; NotFound where the decision is forgotten or the model is not of its plan."""
        return assess(self._decisions.recall(decision_id), signals)

    async def feedback(self, decision_id: str, model: str, score: float, source: str) -> None:
        """Logs a score from 0 to 1 where a log is set; NotFound as `assess`, Overloaded where the log lags."""
        plan = self._decisions.recall(decision_id)
        planned = place(plan, model, "model")
        self._policy.scored(plan, self._decisions.score(decision_id, model, score))
        if self._outcomes:
            await self._outcomes.append(Outcome(decision_id, planned, score, source))

    async def close(self) -> None:
        """Writes what the log still holds."""
        if self._outcomes:
            await self._outcomes.close()


def load_router(settings: RouterSettings) -> Router:
    """Reads catalogue and predictor and warms up; blocks.

    Raises:
        ConfigError: a file that cannot be used.
    """
    catalogue = load_catalogue(settings.catalogue, settings.prices)
    _tell_unpriced(catalogue)
    predictor = _load_predictor(settings, catalogue)
    outcomes = OutcomeLog(settings.outcome_log, settings.outcome_log_max_bytes) if settings.outcome_log else None
    return Router(
        catalogue,
        Policy(Eligibility(catalogue, settings.expected_output_tokens), predictor),
        Decisions(settings.remembered_decisions),
        Objective(settings.max_quality_loss, settings.confidence),
        outcomes,
    )


def _tell_unpriced(catalogue: Catalogue) -> None:
    unpriced = [model.name for model in catalogue.models if model.price is None]
    if unpriced:
        structlog.get_logger("router").warning(
            "models without a price: no receipt or budget counts what they cost",
            models=unpriced,
            remedy="give each a price in router.catalogue or router.prices, or the provider that publishes it",
        )


def _load_predictor(settings: RouterSettings, catalogue: Catalogue) -> Predictor | None:
    if settings.predictor is None:
        return None
    predictor = Predictor(load_artefact(settings.predictor))
    if predictor.default_model != catalogue.default.name:
        structlog.get_logger("router").warning(
            "predictor unused: it was fitted against another default model",
            predictor=str(settings.predictor),
            fitted_against=predictor.default_model,
            default=catalogue.default.name,
        )
        return None
    predictor.predict("warm up", np.zeros(predictor.dimension, np.float32))
    return predictor
