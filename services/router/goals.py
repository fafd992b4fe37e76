"""What a request optimises: which models are better than the strongest by that measure, the best of them first."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from services.router.eligibility import Candidates
from services.router.predictor import Prediction
from services.router.query import Goal


@dataclass(frozen=True, slots=True)
class Measure:
    """What is optimised of each model, by name where it is known, less being better; and what that is called."""

    of: Callable[[Candidates, Prediction], Mapping[str, float]]
    superlative: str
    comparative: str
    by_prompt: bool = True  # whether the order of models may differ from prompt to prompt, whatever the prices


def _costs(candidates: Candidates, prediction: Prediction) -> Mapping[str, float]:
    return candidates.cost_nano_usd


def _times(candidates: Candidates, prediction: Prediction) -> Mapping[str, float]:
    return candidates.seconds


def _badness(candidates: Candidates, prediction: Prediction) -> Mapping[str, float]:
    return {name: 1 - quality for name, quality in prediction.quality.items()}


MEASURES = {
    Goal.CHEAPEST: Measure(_costs, "cheapest", "cheaper", by_prompt=False),
    Goal.BEST: Measure(_badness, "best", "better"),
    Goal.FASTEST: Measure(_times, "fastest", "faster"),
}


def better(measure: Measure, ranked: Candidates, prediction: Prediction) -> Sequence[str]:
    """The models known to be better than the strongest, which is the first, best first; ties keep their order."""
    amounts, names = measure.of(ranked, prediction), ranked.names
    least = amounts.get(names[0])
    if least is None:
        return []
    return sorted([name for name in names if name in amounts and amounts[name] < least], key=amounts.__getitem__)
