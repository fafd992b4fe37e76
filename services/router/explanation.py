"""The words that decisions explain themselves in."""

import math
from functools import lru_cache

from services.router.eligibility import Candidates
from services.router.predictor import Prediction
from services.router.query import Goal


def rank(strongest: str, default_model: str) -> str:
    """What the strongest that may answer is."""
    return "the default model" if strongest == default_model else "the strongest left, though not the default model"


def expected(one: str, ranked: Candidates, goal: Goal, prediction: Prediction) -> str:
    """What the goal measures of the chosen model, beside the strongest, which is the first."""
    strongest = ranked.names[0]
    if goal is Goal.FASTEST:
        return f"expected to take {ranked.seconds[one]:.3g} s, {strongest} {ranked.seconds[strongest]:.3g} s"
    if goal is Goal.BEST:
        ours, theirs = (percent(prediction.quality[which]) for which in (one, strongest))
        return f"predicted to answer well with {ours}, {strongest} with {theirs}"
    theirs = f"{strongest} {ranked.cost_nano_usd[strongest]} nano-dollars"
    return f"expected cost of this request {ranked.cost_nano_usd[one]} nano-dollars, {theirs}"


@lru_cache(256)
def limit(threshold: float, prompts: int, bound: float, confidence: float | None) -> str:
    """What a threshold allows, and which promise it is read for from so many calibrated prompts."""
    allowed = "any is allowed by" if threshold > 0 else "nothing is proven by"
    if math.isfinite(threshold):
        allowed = f"below {percent(threshold)} is allowed by"
    promise = f"a bound of {percent(bound)}" + (f" at {percent(confidence)} confidence" if confidence else "")
    return f"{allowed} {prompts} calibrated prompts for {promise}"


def percent(share: float) -> str:
    """A share, to three digits."""
    return f"{share * 100:.3g} %"
