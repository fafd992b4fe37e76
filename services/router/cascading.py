"""Which cheap model a caller who waits for the whole answer may have asked first, under which threshold, and when."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from services.router.calibration import counted
from services.router.cascade import Cascade
from services.router.catalogue import Model
from services.router.eligibility import Candidates
from services.router.predictor import Prediction, Predictor
from services.router.query import Goal, Objective, Query
from services.router.risk import Check

_NOMINAL_INPUT_TOKENS = 1000


@dataclass(frozen=True, slots=True)
class Paired:
    """Routing and assessing under one threshold."""

    cascade: Cascade
    threshold: float

    def check(self, query: Query, first: str, ranked: Candidates, prediction: Prediction) -> Check | None:
        """What the first model's answer has to pass, where asking for it pays and both may be asked; else None."""
        strongest, objective = ranked.names[0], query.objective
        cost, most = ranked.cost_nano_usd.get(first), ranked.cost_nano_usd.get(strongest)
        if query.needs_tools or cost is None or most is None:
            return None
        repeats = self.cascade.repeats
        if objective.max_cost_nano_usd is not None and cost * (1 + repeats) + most > objective.max_cost_nano_usd:
            return None
        rounds = 2 if repeats else 1  # repeats run side by side, once the answer is there
        first_s, strongest_s = ranked.seconds.get(first), ranked.seconds.get(strongest)
        both_s = None if first_s is None or strongest_s is None else rounds * first_s + strongest_s
        if objective.max_latency_s is not None and (both_s is None or both_s > objective.max_latency_s):
            return None
        return self.cascade.check(prediction.loss[first], self.threshold, cost / most)


class Cascades:
    """Those of a predictor, at a catalogue's prices; every model of it with how many tokens it is expected to say."""

    def __init__(self, predictor: Predictor, models: Sequence[Model]) -> None:
        self._predictor = predictor
        self._default = next(model for model in models if model.is_default)
        self._models = {model.name: model for model in models}
        self._cascades = lru_cache(64)(self._cascades_of)
        self._paired = lru_cache(256)(self._paired_of)

    def paired(
        self, query: Query, fitted: Sequence[str], strongest: str, names: tuple[str, ...], in_order: bool
    ) -> Paired | None:
        """Both steps under one threshold, where the caller waits and that is known to cost less than routing alone.

        None where the rivals' order is not every prompt's: each that came first would have a threshold of its own, and
        the promise is of one.

        Args:
            query: whose objective it is for.
            fitted: the rivals of the strongest, in their order; the first of them may be asked first.
            strongest: has to be the default, which losses are relative to.
            names: whose harm is counted.
            in_order: whether they compete in that order on every prompt.
        """
        objective = query.objective
        if not objective.whole_answer or objective.goal is not Goal.CHEAPEST:
            return None
        if not in_order or strongest != self._default.name:
            return None
        return self._paired(fitted[0], names, *counted(objective.max_quality_loss, objective.confidence))

    def warm(self, names: tuple[str, ...], objective: Objective) -> None:
        """Works out both steps for callers who wait, of rivals in one order."""
        self._paired(names[0], names, *counted(objective.max_quality_loss, objective.confidence))

    def _paired_of(self, first: str, names: tuple[str, ...], bound: float, error: float | None) -> Paired | None:
        signals, confidence = self._cascades(first), None if error is None else 1 - error
        costs = {name: ratio for name in names if (ratio := self._ratio(name)) is not None}
        if not signals or len(costs) < len(names):
            return None
        best = max(signals, key=lambda one: one.expected_saving(names, bound, confidence))
        if not best.saves(names, bound, confidence, True, costs):
            return None
        return Paired(best, best.threshold(names, bound, confidence))

    def _cascades_of(self, first: str) -> Sequence[Cascade]:
        ratio = self._ratio(first)
        return () if ratio is None or ratio >= 1 else self._predictor.cascades(first, ratio)

    def _ratio(self, name: str) -> float | None:
        """What a nominal request costs on a model, as a share of the default's."""
        ours, strong = (
            one.cost_nano_usd(_NOMINAL_INPUT_TOKENS, one.expected_output_tokens or 0)
            for one in (self._models[name], self._default)
        )
        return ours / strong if ours is not None and strong else None
