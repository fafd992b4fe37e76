"""Which of the models that may answer does: the best by the goal of those whose predicted loss keeps the bound."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.router.calibration import Calibration
from services.router.cascading import Cascades
from services.router.conversation import leaning
from services.router.drift import HarmWatches, ShiftWatch
from services.router.eligibility import Candidates, Eligibility
from services.router.explanation import expected, limit, percent, rank
from services.router.goals import MEASURES, Measure, better
from services.router.order import Rivalry
from services.router.plan import Reason
from services.router.predictor import Prediction, Predictor
from services.router.query import Goal, Objective, Query
from services.router.risk import Check

_WITHIN = {
    Goal.CHEAPEST: Reason.CHEAPEST_WITHIN_LOSS,
    Goal.BEST: Reason.BEST_WITHIN_LIMITS,
    Goal.FASTEST: Reason.FASTEST_WITHIN_LOSS,
}
_PROMISING = frozenset({*_WITHIN.values(), Reason.NO_CHEAPER_FITS, Reason.CACHED_PREFIX})


class Choice(NamedTuple):
    """A model, why it is chosen, what its answer has to pass if anything, and `contested` as in a plan."""

    model: str
    reason: Reason
    why: str
    check: Check | None = None
    contested: tuple[str, ...] = ()


class Choosing:
    """Chooses by what one predictor expects.

    Args:
        eligibility: knows the catalogue.
        predictor: relative to the catalogue's default; None where none is fitted.
        harms: know whose promise is suspended.
        shift: tells whether prompts are others than those calibrated; None where that is to change nothing.
    """

    def __init__(
        self, eligibility: Eligibility, predictor: Predictor | None, harms: HarmWatches, shift: ShiftWatch | None = None
    ) -> None:
        self._eligibility, self._predictor, self._harms = eligibility, predictor, harms
        self._shift = shift
        self._alike: tuple[NDArray[np.intp], Calibration] | None = None  # places, and the calibration on these alone
        models = eligibility.models
        calibrated = predictor.calibration.calibrated if predictor else frozenset()
        self._calibrated = calibrated - {one.name for one in models if one.is_default}  # whose loss may be promised
        self._rivalry = Rivalry(models, calibrated)
        self._cascades = Cascades(predictor, models) if predictor else None

    def warm(self, objective: Objective) -> None:
        """Works out what decisions for callers who name no models share, which takes longer than any of them may."""
        query = Query("", objective)
        names, in_order = self._counted(query)
        if self._predictor is None or self._cascades is None or not names:
            return
        self._predictor.calibration.threshold(names, objective.max_quality_loss, objective.confidence, in_order)
        if in_order and objective.goal is Goal.CHEAPEST:
            self._cascades.warm(names, objective)

    def choose(self, query: Query, ranked: Candidates, prediction: Prediction | None) -> Choice:
        """Among candidates of which the first is the strongest."""
        strongest = ranked.names[0]
        if len(ranked.names) == 1:
            return Choice(strongest, Reason.ONLY_CANDIDATE, "the only model that the request and its objective leave")
        if query.answers_tool_call:
            return self._going_on(query, ranked)
        if query.vector is None:
            why = f"{self._rank(strongest)}, as there is no embedding to predict from"
            return Choice(strongest, Reason.NO_EMBEDDING, why)
        if prediction is None or self._predictor is None:
            return Choice(strongest, Reason.NO_PREDICTOR, f"{self._rank(strongest)}, as no predictor is fitted")
        measure = MEASURES[query.objective.goal]
        preferred = better(measure, ranked, prediction)
        fitted = [name for name in preferred if name in self._calibrated]
        if preferred and not fitted:
            why = f"{self._rank(strongest)}, as nothing is calibrated of {', '.join(preferred)}"
            return Choice(strongest, Reason.NO_PREDICTOR, why)
        if query.earlier_turns and (lacking := leaning(query.text)):
            why = f"{self._rank(strongest)}, as the turn says nothing without those before it: {lacking}"
            return Choice(strongest, Reason.NEEDS_CONVERSATION, why)
        if self._harms.of(query.objective.max_quality_loss).suspended:
            why = f"{self._rank(strongest)}, as weaker models were seen to harm more than the bound allows"
            return Choice(strongest, Reason.PROMISE_SUSPENDED, why)
        if prediction.unfamiliar:
            why = f"{self._rank(strongest)}, as the prompt is unlike every calibrated one: {prediction.unfamiliar}"
            return Choice(strongest, Reason.UNFAMILIAR_PROMPT, why)
        return self._within_loss(query, measure, ranked, fitted, prediction, self._predictor)

    def _rank(self, strongest: str) -> str:
        return rank(strongest, self._eligibility.default_model)

    def _going_on(self, query: Query, ranked: Candidates) -> Choice:
        """Whoever called the tool was chosen for the question that its result is part of the answer to."""
        strongest, bound = ranked.names[0], query.objective.max_quality_loss
        careful = not bound or self._harms.of(bound).suspended
        calling = query.current_model if query.current_model in ranked.names else strongest
        if calling == strongest or careful:
            why = f"{self._rank(strongest)}, as the turn is the result of a tool call, which says nothing by itself"
            return Choice(strongest, Reason.NEEDS_CONVERSATION, why)
        return Choice(calling, Reason.CONTINUES_TOOL_CALL, "it made the tool call that this turn is the result of")

    def _within_loss(
        self,
        query: Query,
        measure: Measure,
        ranked: Candidates,
        fitted: Sequence[str],
        prediction: Prediction,
        predictor: Predictor,
    ) -> Choice:
        """`fitted` are the rivals of the strongest whose loss is calibrated, best first."""
        strongest, goal, loss = ranked.names[0], query.objective.goal, prediction.loss
        refused = Reason.BEST_WITHIN_LIMITS if goal is Goal.BEST else Reason.NO_CHEAPER_FITS
        names, in_order = self._counted(query)
        contested = tuple(fitted)
        ordered, among = (names, frozenset(fitted)) if in_order else (fitted, frozenset(names))
        rivals = [name for name in ordered if name in among]
        if not rivals:
            why = f"{self._rank(strongest)}, and no other is known to be {measure.comparative}"
            return Choice(strongest, refused, why, contested=contested)
        bound, confidence = query.objective.max_quality_loss, query.objective.confidence
        alike = self._like_the_last(predictor)
        threshold = _threshold(predictor, alike, names, query.objective, in_order)
        asks_first = self._cascades if alike is None else None
        paired = asks_first.paired(query, rivals, strongest, names, in_order) if asks_first else None
        threshold = paired.threshold if paired else threshold
        allowed = limit(threshold, predictor.calibration.prompts, bound, confidence)
        if alike and self._shift:
            allowed += (
                f", and by the {alike.prompts} of them that are like the last ones (shift {self._shift.shift:.2f})"
            )
        for one in rivals:
            if loss[one] < threshold:
                least = percent(loss[one])
                why = f"{measure.superlative} model within the bound: predicted loss {least}, where {allowed}"
                why = f"{why}; {expected(one, ranked, goal, prediction)}"
                return Choice(one, _WITHIN[goal], why, contested=contested)
        if paired and (check := paired.check(query, rivals[0], ranked, prediction)):
            known_by = f"how many of {check.repeats} repeats agree" if check.repeats else "how likely its tokens are"
            why = (
                f"asked first, as {percent(check.expected_kept)} of such answers are good enough: those whose risk of "
                f"being worse than {strongest}'s, known then by {known_by}, is small, where {allowed}"
            )
            return Choice(rivals[0], Reason.CHEAPER_FIRST, why, check, contested)
        closest = min(rivals, key=loss.__getitem__)
        why = f"{self._rank(strongest)}, as {closest} is predicted to lose {percent(loss[closest])}, where {allowed}"
        return Choice(strongest, refused, why, contested=contested)

    def _counted(self, query: Query) -> tuple[tuple[str, ...], bool]:
        """Whose harm the promise counts, and whether for the first of them below the threshold, else for any below it.

        The first, where they compete in one order on every prompt; then nobody is chosen before that one, though a
        session's prefix made it cheaper, nor where that one may not answer. Where they do not, by price, context, tools
        or a limit of time, whichever is chosen: else each kind of prompts could spend the whole bound.
        """
        objective = query.objective
        names, one_order = self._rivalry.all(self._eligibility.able(query), MEASURES[objective.goal].by_prompt)
        return names, len(names) == 1 or (one_order and objective.max_latency_s is None)

    def keeping_bound(self, query: Query, reason: Reason, prediction: Prediction | None) -> Collection[str]:
        """Whose loss keeps the bound whichever of them answers, as where the chosen one fails."""
        if prediction is None or self._predictor is None or reason not in _PROMISING:
            return ()
        names, _ = self._rivalry.all(self._eligibility.able(query), by_prompt=True)
        alike = self._like_the_last(self._predictor)
        threshold = _threshold(self._predictor, alike, names, query.objective, in_order=False) if names else 0.0
        loss = prediction.loss
        return [name for name in names if loss[name] < threshold]

    def _like_the_last(self, predictor: Predictor) -> Calibration | None:
        """The calibration on prompts that are like the last ones; None where all are."""
        rows = self._shift.alike if self._shift else None
        if rows is None:
            return None
        if self._alike is None or self._alike[0] is not rows:
            self._alike = rows, predictor.calibration.only(rows)
        return self._alike[1]

    def told_of_prefix(self, choice: Choice, query: Query, ranked: Candidates, prediction: Prediction | None) -> Choice:
        """The choice, its reason the prefix that the session's model holds where another would be chosen without."""
        fresh = ranked._replace(cost_nano_usd=ranked.fresh_cost_nano_usd)
        otherwise, held = self.choose(query, fresh, prediction).model, choice.model
        if otherwise == held:
            return choice
        worth = fresh.cost_nano_usd[held] - ranked.cost_nano_usd[held]
        why = (
            f"the session stays, as the {query.cached_prefix_tokens} tokens that it holds are worth {worth} "
            f"nano-dollars, which leaving it for {otherwise} would not gain; {choice.why}"
        )
        return choice._replace(reason=Reason.CACHED_PREFIX, why=why)


def _threshold(
    predictor: Predictor, alike: Calibration | None, names: tuple[str, ...], objective: Objective, in_order: bool
) -> float:
    """What a predicted loss must stay below: by all calibrated prompts, and by those like the last ones alone."""
    asked = names, objective.max_quality_loss, objective.confidence, in_order
    threshold = predictor.calibration.threshold(*asked)
    return threshold if alike is None else min(threshold, alike.threshold(*asked))
