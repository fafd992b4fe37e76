"""The choice: the best by the goal of those whose predicted loss keeps the bound, else the strong one, and why."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from services.chassis.errors import InvalidField
from services.router.cascading import Cascades
from services.router.conversation import leaning
from services.router.drift import HarmWatches, PromiseState, ShiftWatch
from services.router.eligibility import Candidate, Eligibility
from services.router.explanation import expected, limit, percent, rank
from services.router.goals import MEASURES, rivals
from services.router.order import Rivalry
from services.router.plan import RIGHT, Plan, Planned, Reason
from services.router.predictor import Prediction, Predictor
from services.router.query import Goal, Query
from services.router.risk import Check

_WITHIN = {
    Goal.CHEAPEST: Reason.CHEAPEST_WITHIN_LOSS,
    Goal.BEST: Reason.BEST_WITHIN_LIMITS,
    Goal.FASTEST: Reason.FASTEST_WITHIN_LOSS,
}


_PROMISING = frozenset({*_WITHIN.values(), Reason.NO_CHEAPER_FITS, Reason.CACHED_PREFIX})


@dataclass(frozen=True, slots=True)
class _Choice:
    model: Candidate
    reason: Reason
    why: str
    check: Check | None = None
    contested: tuple[str, ...] = ()


class Policy:
    """Chooses among the models that may answer."""

    def __init__(self, eligibility: Eligibility, predictor: Predictor | None, before: "Policy | None" = None) -> None:
        """`predictor` must be relative to the catalogue's default; without one the default answers everything.

        What was known of the promise `before` still is, where its predictor was this one.
        """
        self._eligibility = eligibility
        self._predictor = predictor
        self._version = predictor.version if predictor else ""
        calibrated = [name for name in predictor.models if name in predictor.calibration] if predictor else []
        self._rivalry = Rivalry(eligibility.models, calibrated)
        self._cascades = Cascades(predictor, eligibility.models) if predictor else None
        self._harms = HarmWatches()
        self._shift = ShiftWatch(predictor.calibration.mean_losses) if predictor else None
        if before and before._version == self._version:
            self._harms, self._shift = before._harms, before._shift

    @property
    def promise(self) -> PromiseState:
        """What is known of whether the promise is kept."""
        harms = self._harms
        return PromiseState(harms.suspended, harms.judged, harms.harmed, self._shift.shift if self._shift else 0.0)

    def scored(self, plan: Plan, model: str, scores: Mapping[str, float]) -> None:
        """Learns how answers to one prompt were scored, with that of `model` now, as soon as both that matter are.

        A plan of another predictor says nothing of this one.
        """
        if plan.version != self._version or model not in (plan.models[0].model, plan.strongest):
            return
        chosen, default = scores.get(plan.models[0].model), scores.get(plan.strongest)
        if plan.promised and chosen is not None and default is not None:
            self._harms.judge(plan.bound, chosen < RIGHT <= default)

    def plan(self, query: Query) -> Plan:
        """Ranks the models for a query.

        Raises:
            InvalidField, FailedPrecondition: a vector that is not finite, or of another encoder.
            NotFound, FailedPrecondition, InvalidField: as `Eligibility.candidates`.
        """
        prediction = self._predict(query)
        ranked = self._by_strength(self._eligibility.candidates(query), prediction)
        choice = self._choose(query, ranked, prediction)
        by_cost = query.objective.goal is Goal.CHEAPEST
        if by_cost and query.cached_prefix_tokens and choice.model.name == query.current_model:
            choice = self._told_of_prefix(choice, query, ranked, prediction)
        order = [choice.model, *(one for one in ranked if one is not choice.model)]
        able = {ranked[0].name, *self._keeping_bound(query, choice.reason, prediction)}
        planned = tuple(_planned(one, prediction, one.name in able) for one in order)
        weak = choice.model is not ranked[0] and choice.reason is not Reason.CONTINUES_TOOL_CALL
        bound = query.objective.max_quality_loss
        if ranked[0].model.is_default and not choice.check:
            self._harms.decided(bound, weak)
        promised = weak and ranked[0].model.is_default and not choice.check
        why = f"{choice.model.name}: {choice.why}."
        unfamiliar = prediction is not None and bool(prediction.unfamiliar)
        covered = promised, bound, self._version, unfamiliar
        return Plan(
            planned, ranked[0].name, choice.reason, why, *covered, check=choice.check, contested=choice.contested
        )

    def assessed(self, plan: Plan, kept: bool) -> None:
        """Learns whether an answer passed the check of a plan; one of another predictor says nothing of this one."""
        if plan.version == self._version:
            self._harms.decided(plan.bound, kept)

    def _predict(self, query: Query) -> Prediction | None:
        if query.vector is None:
            return None
        if not np.isfinite(query.vector.values).all():
            raise InvalidField("embedding.values", "a value that is not finite", "finite float32 values")
        if self._predictor is None:
            return None
        self._predictor.check(query.vector)
        prediction = self._predictor.predict(query.text, query.vector.values)
        if self._shift:
            losses = [loss for model, loss in prediction.loss.items() if model in self._predictor.calibration]
            self._shift.seen(sum(losses) / len(losses) if losses and not prediction.unfamiliar else math.inf)
        return prediction

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
        if query.answers_tool_call:
            return self._going_on(query, ranked)
        if query.vector is None:
            why = f"{rank(strongest)}, as there is no embedding to predict from"
            return _Choice(strongest, Reason.NO_EMBEDDING, why)
        if prediction is None or self._predictor is None:
            return _Choice(strongest, Reason.NO_PREDICTOR, f"{rank(strongest)}, as no predictor is fitted")
        preferred = rivals(query.objective.goal, ranked, prediction)
        known = self._predictor.calibration
        fitted = [one for one in preferred if one.name in known and not one.model.is_default]
        if preferred and not fitted:
            names = ", ".join(one.name for one in preferred)
            return _Choice(strongest, Reason.NO_PREDICTOR, f"{rank(strongest)}, as nothing is calibrated of {names}")
        if query.earlier_turns and (lacking := leaning(query.text)):
            why = f"{rank(strongest)}, as the turn says nothing without those before it: {lacking}"
            return _Choice(strongest, Reason.NEEDS_CONVERSATION, why)
        if self._harms.of(query.objective.max_quality_loss).suspended:
            why = f"{rank(strongest)}, as weaker models were seen to harm more than the bound allows"
            return _Choice(strongest, Reason.PROMISE_SUSPENDED, why)
        if prediction.unfamiliar:
            why = f"{rank(strongest)}, as the prompt is unlike every calibrated one: {prediction.unfamiliar}"
            return _Choice(strongest, Reason.UNFAMILIAR_PROMPT, why)
        choice = self._within_loss(query, strongest, fitted, prediction, self._predictor)
        return replace(choice, contested=tuple(one.name for one in fitted))

    def _going_on(self, query: Query, ranked: Sequence[Candidate]) -> _Choice:
        """Whoever called the tool was chosen for the question that its result is part of the answer to."""
        strongest, bound = ranked[0], query.objective.max_quality_loss
        careful = not bound or self._harms.of(bound).suspended
        calling = next((one for one in ranked if one.name == query.current_model), strongest)
        if calling is strongest or careful:
            why = f"{rank(strongest)}, as the turn is the result of a tool call, which says nothing by itself"
            return _Choice(strongest, Reason.NEEDS_CONVERSATION, why)
        return _Choice(calling, Reason.CONTINUES_TOOL_CALL, "it made the tool call that this turn is the result of")

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
            return _Choice(strongest, refused, f"{rank(strongest)}, and no other is known to be {measure.comparative}")
        bound, confidence = query.objective.max_quality_loss, query.objective.confidence
        names, in_order = self._counted(query, fitted)
        threshold = predictor.calibration.threshold(names, bound, confidence, in_order=in_order)
        paired = self._cascades.paired(query, fitted, strongest, names, in_order) if self._cascades else None
        threshold = paired.threshold if paired else threshold
        promise = f"a bound of {percent(bound)}" + (f" at {percent(confidence)} confidence" if confidence else "")
        allowed = f"{limit(threshold)} {predictor.calibration.prompts} calibrated prompts for {promise}"
        for one in fitted:
            loss = prediction.loss[one.name]
            if loss < threshold:
                why = f"{measure.superlative} model within the bound: predicted loss {percent(loss)}, where {allowed}"
                return _Choice(one, _WITHIN[goal], f"{why}; {expected(one, strongest, goal, prediction)}")
        if paired and (check := paired.check(query, fitted[0], strongest, prediction)):
            why = (
                f"asked first, as {percent(check.expected_kept)} of such answers are good enough: those whose risk of "
                f"being worse than {strongest.name}'s, known then, is small, where {allowed}"
            )
            return _Choice(fitted[0], Reason.CHEAPER_FIRST, why, check)
        closest = min(fitted, key=lambda one: prediction.loss[one.name])
        least = percent(prediction.loss[closest.name])
        why = f"{rank(strongest)}, as {closest.name} is predicted to lose {least}, where {allowed}"
        return _Choice(strongest, refused, why)

    def _counted(self, query: Query, fitted: Sequence[Candidate]) -> tuple[tuple[str, ...], bool]:
        """Whose harm the promise counts: those of `fitted` in their order, where every prompt's rivals are the same.

        Where they are not, by price, context, or a limit of the request, all that might be, whichever is chosen: else
        each kind of prompts could spend the whole bound.
        """
        objective = query.objective
        limited = objective.max_cost_nano_usd or objective.max_latency_s or query.cached_prefix_tokens
        by_prompt = MEASURES[objective.goal].by_prompt
        names, one_order = self._rivalry.all(self._eligibility.able(query), by_prompt)
        if len(names) == 1 or (one_order and not limited):
            return tuple(one.name for one in fitted), True
        return names, False

    def _keeping_bound(self, query: Query, reason: Reason, prediction: Prediction | None) -> Collection[str]:
        """Whose loss keeps the bound whichever of them answers, as where the chosen one fails."""
        if prediction is None or self._predictor is None or reason not in _PROMISING:
            return ()
        names, _ = self._rivalry.all(self._eligibility.able(query), by_prompt=True)
        bound, confidence = query.objective.max_quality_loss, query.objective.confidence
        threshold = self._predictor.calibration.threshold(names, bound, confidence, in_order=False) if names else 0.0
        return [name for name in names if prediction.loss[name] < threshold]

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
        return replace(choice, reason=Reason.CACHED_PREFIX, why=why)


def _planned(candidate: Candidate, prediction: Prediction | None, may_stand_in: bool) -> Planned:
    return Planned(
        model=candidate.name,
        quality=prediction.quality.get(candidate.name) if prediction else None,
        loss=prediction.loss.get(candidate.name) if prediction else None,
        cost_nano_usd=candidate.cost_nano_usd,
        seconds=candidate.seconds,
        may_stand_in=may_stand_in,
    )
