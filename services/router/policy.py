"""The choice: the cheapest model whose predicted loss keeps the bound, else the strong one, and why, in a sentence."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from services.chassis.errors import InvalidField
from services.router.eligibility import Candidate, Eligibility
from services.router.predictor import Prediction, Predictor
from services.router.query import Query


class Reason(Enum):
    """Why a model was chosen; the names of fulcrum.router.v1.RouteReason without its prefix."""

    CHEAPEST_WITHIN_LOSS = "CHEAPEST_WITHIN_LOSS"
    NO_CHEAPER_FITS = "NO_CHEAPER_FITS"
    ONLY_CANDIDATE = "ONLY_CANDIDATE"
    NO_EMBEDDING = "NO_EMBEDDING"
    UNFAMILIAR_PROMPT = "UNFAMILIAR_PROMPT"
    NO_PREDICTOR = "NO_PREDICTOR"


@dataclass(frozen=True, slots=True)
class Planned:
    """One model of a plan; None where a figure is not known."""

    model: str
    quality: float | None
    loss: float | None
    cost_nano_usd: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """Models in the order to try them, never none, the strongest of them, and why the first is first."""

    models: tuple[Planned, ...]
    strongest: str
    reason: Reason
    explanation: str


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
        chosen, reason, why = self._choose(query, ranked, prediction)
        order = [chosen, *(one for one in ranked if one is not chosen)]
        planned = tuple(_planned(one, prediction) for one in order)
        return Plan(planned, ranked[0].name, reason, f"{chosen.name}: {why}.")

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

    def _choose(
        self, query: Query, ranked: Sequence[Candidate], prediction: Prediction | None
    ) -> tuple[Candidate, Reason, str]:
        strongest = ranked[0]
        if len(ranked) == 1:
            return strongest, Reason.ONLY_CANDIDATE, "the only model that the request and its objective leave"
        if query.vector is None:
            return strongest, Reason.NO_EMBEDDING, f"{_rank(strongest)}, as there is no embedding to predict from"
        if prediction is None or self._predictor is None:
            return strongest, Reason.NO_PREDICTOR, f"{_rank(strongest)}, as no predictor is fitted"
        cheaper = _cheaper(ranked)
        rivals = [one for one in cheaper if one.name in prediction.loss and not one.model.is_default]
        if cheaper and not rivals:
            names = ", ".join(one.name for one in cheaper)
            return strongest, Reason.NO_PREDICTOR, f"{_rank(strongest)}, as no predictor is fitted for {names}"
        if prediction.unfamiliar:
            why = f"{_rank(strongest)}, as the prompt is unlike every calibrated one: {prediction.unfamiliar}"
            return strongest, Reason.UNFAMILIAR_PROMPT, why
        return self._within_loss(query, strongest, rivals, prediction, self._predictor)

    def _within_loss(
        self,
        query: Query,
        strongest: Candidate,
        rivals: Sequence[Candidate],
        prediction: Prediction,
        predictor: Predictor,
    ) -> tuple[Candidate, Reason, str]:
        if not rivals:
            return strongest, Reason.NO_CHEAPER_FITS, f"{_rank(strongest)}, and no other is known to be cheaper"
        bound, confidence = query.objective.max_quality_loss, query.objective.confidence
        names = tuple(one.name for one in rivals)
        threshold = predictor.calibration.threshold(names, bound, confidence)
        promise = f"a bound of {_percent(bound)}" + (f" at {_percent(confidence)} confidence" if confidence else "")
        limit = f"{_limit(threshold)} {predictor.calibration.prompts} calibrated prompts for {promise}"
        for one in rivals:
            loss = prediction.loss[one.name]
            if loss < threshold:
                why = f"cheapest model within the bound: predicted loss {_percent(loss)}, where {limit}"
                return one, Reason.CHEAPEST_WITHIN_LOSS, f"{why}; {_costs(one, strongest)}"
        closest = min(rivals, key=lambda one: prediction.loss[one.name])
        least = _percent(prediction.loss[closest.name])
        why = f"{_rank(strongest)}, as {closest.name} is predicted to lose {least}, where {limit}"
        return strongest, Reason.NO_CHEAPER_FITS, why


def _cheaper(ranked: Sequence[Candidate]) -> Sequence[Candidate]:
    """The models known to cost less than the strongest, cheapest first."""
    strongest = ranked[0]
    if strongest.cost_nano_usd is None:
        return []
    priced = [(one.cost_nano_usd, one) for one in ranked if one.cost_nano_usd is not None]
    ascending = sorted(priced, key=lambda pair: pair[0])
    return [one for cost, one in ascending if cost < strongest.cost_nano_usd]


def _planned(candidate: Candidate, prediction: Prediction | None) -> Planned:
    return Planned(
        model=candidate.name,
        quality=prediction.quality.get(candidate.name) if prediction else None,
        loss=prediction.loss.get(candidate.name) if prediction else None,
        cost_nano_usd=candidate.cost_nano_usd,
    )


def _rank(strongest: Candidate) -> str:
    return "the default model" if strongest.model.is_default else "the strongest left, though not the default model"


def _costs(one: Candidate, strongest: Candidate) -> str:
    return f"expected cost {one.cost_nano_usd} nano-dollars, {strongest.name} {strongest.cost_nano_usd}"


def _limit(threshold: float) -> str:
    if np.isfinite(threshold):
        return f"below {_percent(threshold)} is allowed by"
    return "any is allowed by" if threshold > 0 else "nothing is proven by"


def _percent(share: float) -> str:
    return f"{share * 100:.3g} %"
