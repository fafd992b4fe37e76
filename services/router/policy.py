"""The choice: the best by the goal of those whose predicted loss keeps the bound, else the strong one, and why."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from services.chassis.errors import InvalidField
from services.router.conversation import leaning
from services.router.eligibility import Candidate, Eligibility
from services.router.goals import MEASURES, rivals
from services.router.predictor import Prediction, Predictor
from services.router.query import Goal, Query


class Reason(Enum):
    """Why a model was chosen; the names of fulcrum.router.v1.RouteReason without its prefix."""

    CHEAPEST_WITHIN_LOSS = "CHEAPEST_WITHIN_LOSS"
    NO_CHEAPER_FITS = "NO_CHEAPER_FITS"
    ONLY_CANDIDATE = "ONLY_CANDIDATE"
    NO_EMBEDDING = "NO_EMBEDDING"
    UNFAMILIAR_PROMPT = "UNFAMILIAR_PROMPT"
    NO_PREDICTOR = "NO_PREDICTOR"
    FASTEST_WITHIN_LOSS = "FASTEST_WITHIN_LOSS"
    BEST_WITHIN_LIMITS = "BEST_WITHIN_LIMITS"
    CACHED_PREFIX = "CACHED_PREFIX"
    NEEDS_CONVERSATION = "NEEDS_CONVERSATION"


_WITHIN = {
    Goal.CHEAPEST: Reason.CHEAPEST_WITHIN_LOSS,
    Goal.BEST: Reason.BEST_WITHIN_LIMITS,
    Goal.FASTEST: Reason.FASTEST_WITHIN_LOSS,
}


@dataclass(frozen=True, slots=True)
class Planned:
    """One model of a plan; None where a figure is not known."""

    model: str
    quality: float | None
    loss: float | None
    cost_nano_usd: int | None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Models in the order to try them, never none, the strongest of them, and why the first is first."""

    models: tuple[Planned, ...]
    strongest: str
    reason: Reason
    explanation: str


@dataclass(frozen=True, slots=True)
class _Choice:
    model: Candidate
    reason: Reason
    why: str


class Policy:
    """Chooses among the models that may answer."""

    def __init__(self, eligibility: Eligibility, predictor: Predictor | None) -> None:
        """`predictor` must be relative to the catalogue's default; without one the default answers everything."""
        self._eligibility = eligibility
        self._predictor = predictor

    def plan(self, query: Query) -> Plan:
        """Ranks the models for a query.

        Raises:
            InvalidField, FailedPrecondition: a vector that is not finite, or of another encoder.
            NotFound, FailedPrecondition, InvalidField: as `Eligibility.candidates`.
        """
        prediction = self._predict(query)
        ranked = self._by_strength(self._eligibility.candidates(query), prediction)
        choice = self._choose(query, ranked, prediction)
        if query.cached_prefix_tokens and choice.model.name == query.current_model:
            choice = self._told_of_prefix(choice, query, ranked, prediction)
        order = [choice.model, *(one for one in ranked if one is not choice.model)]
        planned = tuple(_planned(one, prediction) for one in order)
        return Plan(planned, ranked[0].name, choice.reason, f"{choice.model.name}: {choice.why}.")

    def _predict(self, query: Query) -> Prediction | None:
        if query.vector is None:
            return None
        if not np.isfinite(query.vector.values).all():
            raise InvalidField("embedding.values", "a value that is not finite", "finite float32 values")
        if self._predictor is None:
            return None
        self._predictor.check(query.vector)
        return self._predictor.predict(query.text, query.vector.values)

    def _by_strength(self, candidates: Sequence[Candidate], prediction: Prediction | None) -> Sequence[Candidate]:
        """The default, then by predicted quality, then the dearest, for want of anything better to judge by."""
        quality = prediction.quality if prediction else {}
        return sorted(
            candidates,
            key=lambda one: (
                not one.model.is_default,
                -quality.get(one.name, -1.0),
                -(one.cost_nano_usd or 0),
            ),
        )

    def _choose(self, query: Query, ranked: Sequence[Candidate], prediction: Prediction | None) -> _Choice:
        strongest = ranked[0]
        if len(ranked) == 1:
            return _Choice(strongest, Reason.ONLY_CANDIDATE, "the only model that the request and its objective leave")
        if query.vector is None:
            why = f"{_rank(strongest)}, as there is no embedding to predict from"
            return _Choice(strongest, Reason.NO_EMBEDDING, why)
        if prediction is None or self._predictor is None:
            return _Choice(strongest, Reason.NO_PREDICTOR, f"{_rank(strongest)}, as no predictor is fitted")
        preferred = rivals(query.objective.goal, ranked, prediction)
        fitted = [one for one in preferred if one.name in prediction.loss and not one.model.is_default]
        if preferred and not fitted:
            names = ", ".join(one.name for one in preferred)
            return _Choice(strongest, Reason.NO_PREDICTOR, f"{_rank(strongest)}, as no predictor is fitted for {names}")
        if query.earlier_turns and (lacking := leaning(query.text)):
            why = f"{_rank(strongest)}, as the turn says nothing without those before it: {lacking}"
            return _Choice(strongest, Reason.NEEDS_CONVERSATION, why)
        if prediction.unfamiliar:
            why = f"{_rank(strongest)}, as the prompt is unlike every calibrated one: {prediction.unfamiliar}"
            return _Choice(strongest, Reason.UNFAMILIAR_PROMPT, why)
        return self._within_loss(query, strongest, fitted, prediction, self._predictor)

    def _within_loss(
        self,
        query: Query,
        strongest: Candidate,
        fitted: Sequence[Candidate],
        prediction: Prediction,
        predictor: Predictor,
    ) -> _Choice:
        goal, measure = query.objective.goal, MEASURES[query.objective.goal]
        refused = Reason.BEST_WITHIN_LIMITS if goal is Goal.BEST else Reason.NO_CHEAPER_FITS
        if not fitted:
            return _Choice(strongest, refused, f"{_rank(strongest)}, and no other is known to be {measure.comparative}")
        bound, confidence = query.objective.max_quality_loss, query.objective.confidence
        names = tuple(one.name for one in fitted)
        threshold = predictor.calibration.threshold(names, bound, confidence, in_order=not measure.by_prompt)
        promise = f"a bound of {_percent(bound)}" + (f" at {_percent(confidence)} confidence" if confidence else "")
        limit = f"{_limit(threshold)} {predictor.calibration.prompts} calibrated prompts for {promise}"
        for one in fitted:
            loss = prediction.loss[one.name]
            if loss < threshold:
                why = f"{measure.superlative} model within the bound: predicted loss {_percent(loss)}, where {limit}"
                return _Choice(one, _WITHIN[goal], f"{why}; {_expected(one, strongest, goal, prediction)}")
        closest = min(fitted, key=lambda one: prediction.loss[one.name])
        least = _percent(prediction.loss[closest.name])
        why = f"{_rank(strongest)}, as {closest.name} is predicted to lose {least}, where {limit}"
        return _Choice(strongest, refused, why)

    def _told_of_prefix(
        self, choice: _Choice, query: Query, ranked: Sequence[Candidate], prediction: Prediction | None
    ) -> _Choice:
        """The choice, its reason the prefix that the session's model holds where another would be chosen without."""
        fresh = [replace(one, cost_nano_usd=one.fresh_cost_nano_usd) for one in ranked]
        otherwise = self._choose(query, fresh, prediction).model
        held = next(one for one in fresh if one.name == choice.model.name)
        if otherwise is held or held.cost_nano_usd is None or choice.model.cost_nano_usd is None:
            return choice
        worth = held.cost_nano_usd - choice.model.cost_nano_usd
        why = (
            f"the session stays, as the {query.cached_prefix_tokens} tokens that it holds are worth {worth} "
            f"nano-dollars, which leaving it for {otherwise.name} would not gain; {choice.why}"
        )
        return _Choice(choice.model, Reason.CACHED_PREFIX, why)


def _planned(candidate: Candidate, prediction: Prediction | None) -> Planned:
    return Planned(
        model=candidate.name,
        quality=prediction.quality.get(candidate.name) if prediction else None,
        loss=prediction.loss.get(candidate.name) if prediction else None,
        cost_nano_usd=candidate.cost_nano_usd,
        seconds=candidate.seconds,
    )


def _rank(strongest: Candidate) -> str:
    return "the default model" if strongest.model.is_default else "the strongest left, though not the default model"


def _expected(one: Candidate, strongest: Candidate, goal: Goal, prediction: Prediction) -> str:
    """What the goal measures of the chosen model, beside the strongest."""
    if goal is Goal.FASTEST:
        return f"expected to take {one.seconds:.3g} s, {strongest.name} {strongest.seconds:.3g} s"
    if goal is Goal.BEST:
        ours, theirs = (_percent(prediction.quality[which.name]) for which in (one, strongest))
        return f"predicted to answer well with {ours}, {strongest.name} with {theirs}"
    return f"expected cost {one.cost_nano_usd} nano-dollars, {strongest.name} {strongest.cost_nano_usd}"


def _limit(threshold: float) -> str:
    if np.isfinite(threshold):
        return f"below {_percent(threshold)} is allowed by"
    return "any is allowed by" if threshold > 0 else "nothing is proven by"


def _percent(share: float) -> str:
    return f"{share * 100:.3g} %"
