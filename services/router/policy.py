"""A decision: the models that may answer, in the order to try them, and whether the promise was seen to be kept."""

import math
from collections.abc import Collection, Mapping

import numpy as np

from services.chassis.errors import InvalidField
from services.router.choosing import Choosing
from services.router.drift import Basis, HarmWatches, PromiseState, ShiftWatch
from services.router.eligibility import Candidates, Eligibility
from services.router.harm import harms
from services.router.plan import Plan, Planned, Reason
from services.router.predictor import Prediction, Predictor
from services.router.query import Goal, Objective, Query

_new = tuple.__new__  # of a named tuple: its own constructor takes twice as long


class Policy:
    """Chooses among the models that may answer."""

    def __init__(
        self,
        eligibility: Eligibility,
        predictor: Predictor | None,
        before: "Policy | None" = None,
        heeds_shift: bool = False,
    ) -> None:
        """`predictor` must be relative to the catalogue's default; without one the default answers everything.

        What was known of the promise `before` still is, where its predictor was this one. Who serves `heeds_shift`;
        who decides a file of outcomes has every prompt of it decided alike.
        """
        self._eligibility = eligibility
        self._predictor = predictor
        self._version = predictor.version if predictor else ""
        self._harms = HarmWatches()
        self._shift = ShiftWatch(predictor.calibration.mean_losses) if predictor else None
        self._calibrated = predictor.calibrated if predictor else ()
        if before and before._version == self._version:
            self._harms, self._shift = before._harms, before._shift
        self._choosing = Choosing(eligibility, predictor, self._harms, self._shift if heeds_shift else None)

    def warmed(self, objective: Objective) -> "Policy":
        """Itself, once it has worked out what most decisions under an objective need; blocks for milliseconds."""
        self._choosing.warm(objective)
        return self

    @property
    def default_model(self) -> str:
        """Whom losses are relative to."""
        return self._eligibility.default_model

    @property
    def promise(self) -> PromiseState:
        """What is known of whether the promise is kept."""
        harms = self._harms
        return PromiseState(harms.suspended, harms.judged, harms.harmed, self._shift.shift if self._shift else 0.0)

    def scored(self, plan: Plan, model: str, scores: Mapping[str, float], basis: Basis = Basis.JUDGED) -> None:
        """Learns how answers to one prompt were scored, with that of `model` now, as soon as both that matter are.

        A plan of another predictor says nothing of this one.
        """
        if plan.version != self._version or model not in (plan.models[0].model, plan.strongest):
            return
        chosen, default = scores.get(plan.models[0].model), scores.get(plan.strongest)
        if plan.promised and chosen is not None and default is not None:
            self._harms.judge(plan.bound, harms(chosen, default), basis)

    def plan(self, query: Query) -> Plan:
        """Ranks the models for a query.

        Raises:
            InvalidField, FailedPrecondition: a vector that is not finite, or of another encoder.
            NotFound, FailedPrecondition, InvalidField: as `Eligibility.candidates`.
        """
        prediction = self._predict(query)
        ranked = self._by_strength(self._eligibility.candidates(query), prediction)
        choice = self._choosing.choose(query, ranked, prediction)
        by_cost = query.objective.goal is Goal.CHEAPEST
        if by_cost and query.cached_prefix_tokens and choice.model == query.current_model:
            choice = self._choosing.told_of_prefix(choice, query, ranked, prediction)
        strongest, bound = ranked.names[0], query.objective.max_quality_loss
        able = {strongest, *self._choosing.keeping_bound(query, choice.reason, prediction)}
        planned = _planned(choice.model, ranked, prediction, able)
        weak = choice.model != strongest and choice.reason is not Reason.CONTINUES_TOOL_CALL
        by_default = strongest == self._eligibility.default_model
        promised = weak and by_default and not choice.check
        if by_default:
            self._harms.decided(bound, promised)
        why = f"{choice.model}: {choice.why}."
        unfamiliar = prediction is not None and bool(prediction.unfamiliar)
        covered = promised, bound, self._version, unfamiliar
        known = choice.check, choice.contested, self._eligibility.excluded(query)
        return Plan(planned, strongest, choice.reason, why, *covered, "", *known)

    def assessed(self, plan: Plan, kept: bool) -> None:
        """Learns whether an answer passed the check of a plan; one of another predictor says nothing of this one."""
        if kept and plan.version == self._version:
            self._harms.kept(plan.bound)

    def _predict(self, query: Query) -> Prediction | None:
        if query.vector is None:
            return None
        values = query.vector.values
        if not math.isfinite(values.dot(values)) and not np.isfinite(values).all():  # the first alone costs less
            raise InvalidField("embedding.values", "a value that is not finite", "finite float32 values")
        if self._predictor is None:
            return None
        self._predictor.check(query.vector)
        prediction = self._predictor.predict(query.text, values)
        if self._shift:
            losses = list(map(prediction.loss.__getitem__, self._calibrated))
            self._shift.seen(sum(losses) / len(losses) if losses and not prediction.unfamiliar else math.inf)
        return prediction

    def _by_strength(self, candidates: Candidates, prediction: Prediction | None) -> Candidates:
        """The default, then by predicted quality, then the dearest, for want of anything better to judge by."""
        strength = dict.fromkeys(candidates.names, -1.0)
        if prediction:
            strength |= prediction.quality
        strength[self._eligibility.default_model] = math.inf
        cost = candidates.cost_nano_usd
        dearest = sorted(candidates.names, key=lambda name: cost.get(name, 0), reverse=True)
        return candidates._replace(names=sorted(dearest, key=strength.__getitem__, reverse=True))


def _planned(
    chosen: str, ranked: Candidates, prediction: Prediction | None, able: Collection[str]
) -> tuple[Planned, ...]:
    """The chosen model, then the others, with what is predicted of them; those `able` may stand in."""
    quality, loss = (prediction.quality, prediction.loss) if prediction else ({}, {})
    cost, seconds = ranked.cost_nano_usd, ranked.seconds
    return tuple(
        [
            _new(Planned, (name, quality.get(name), loss.get(name), cost.get(name), seconds.get(name), name in able))
            for name in (chosen, *[name for name in ranked.names if name != chosen])
        ]
    )
