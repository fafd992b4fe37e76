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
    """What is optimised of each model, less being better, None where it is not known; and what that is called."""

    of: Callable[[Sequence[Candidate], Prediction], Sequence[float | None]]
    superlative: str
    comparative: str
    by_prompt: bool = True  # whether the order of models may differ from prompt to prompt, whatever the prices


def _costs(candidates: Sequence[Candidate], prediction: Prediction) -> Sequence[float | None]:
    return [one.cost_nano_usd for one in candidates]


def _times(candidates: Sequence[Candidate], prediction: Prediction) -> Sequence[float | None]:
    return [one.seconds for one in candidates]


def _badness(candidates: Sequence[Candidate], prediction: Prediction) -> Sequence[float | None]:
    qualities = [prediction.quality.get(one.name) for one in candidates]
    return [None if quality is None else 1 - quality for quality in qualities]


MEASURES = {
    Goal.CHEAPEST: Measure(_costs, "cheapest", "cheaper", by_prompt=False),
    Goal.BEST: Measure(_badness, "best", "better"),
    Goal.FASTEST: Measure(_times, "fastest", "faster"),
}


def better(measure: Measure, ranked: Sequence[Candidate], prediction: Prediction) -> Sequence[Candidate]:
    """The models known to be better than the strongest, which is the first, best first; ties keep their order."""
    amounts = measure.of(ranked, prediction)
    least = amounts[0]
    if least is None:
        return []
    found = [
        (amount, one) for amount, one in zip(amounts, ranked, strict=True) if amount is not None and amount < least
    ]
    found.sort(key=_AMOUNT)
    return [one for _, one in found]
