"""What a request optimises: which models are better than the strongest by that measure, the best of them first."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter

from services.router.eligibility import Candidate
from services.router.predictor import Prediction
from services.router.query import Goal

_AMOUNT = itemgetter(0)


@dataclass(frozen=True, slots=True)
class Measure:
    """What is optimised, less being better, None where it is not known of a model; and what that is called."""

    of: Callable[[Candidate, Prediction], float | None]
    superlative: str
    comparative: str
    by_prompt: bool = True  # whether the order of models may differ from prompt to prompt, whatever the prices


def _cost(one: Candidate, prediction: Prediction) -> float | None:
    return one.cost_nano_usd


def _time(one: Candidate, prediction: Prediction) -> float | None:
    return one.seconds


def _badness(one: Candidate, prediction: Prediction) -> float | None:
    quality = prediction.quality.get(one.name)
    return None if quality is None else 1 - quality


MEASURES = {
    Goal.CHEAPEST: Measure(_cost, "cheapest", "cheaper", by_prompt=False),
    Goal.BEST: Measure(_badness, "best", "better"),
    Goal.FASTEST: Measure(_time, "fastest", "faster"),
}


def rivals(goal: Goal, ranked: Sequence[Candidate], prediction: Prediction) -> Sequence[Candidate]:
    """The models known to be better than the strongest, which is the first, best first; ties keep their order."""
    measure = MEASURES[goal].of
    least = measure(ranked[0], prediction)
    if least is None:
        return []
    better = [(amount, one) for one in ranked if (amount := measure(one, prediction)) is not None and amount < least]
    better.sort(key=_AMOUNT)
    return [one for _, one in better]
