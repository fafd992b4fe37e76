"""The words that decisions explain themselves in."""

import math

from services.router.eligibility import Candidate
from services.router.predictor import Prediction
from services.router.query import Goal


def rank(strongest: Candidate) -> str:
    """What the strongest that may answer is."""
    return "the default model" if strongest.model.is_default else "the strongest left, though not the default model"


def expected(one: Candidate, strongest: Candidate, goal: Goal, prediction: Prediction) -> str:
    """What the goal measures of the chosen model, beside the strongest."""
    if goal is Goal.FASTEST:
        return f"expected to take {one.seconds:.3g} s, {strongest.name} {strongest.seconds:.3g} s"
    if goal is Goal.BEST:
        ours, theirs = (percent(prediction.quality[which.name]) for which in (one, strongest))
        return f"predicted to answer well with {ours}, {strongest.name} with {theirs}"
    theirs = f"{strongest.name} {strongest.cost_nano_usd} nano-dollars"
    return f"expected cost of this request {one.cost_nano_usd} nano-dollars, {theirs}"


def limit(threshold: float) -> str:
    """What a threshold allows."""
    if math.isfinite(threshold):
        return f"below {percent(threshold)} is allowed by"
    return "any is allowed by" if threshold > 0 else "nothing is proven by"


def percent(share: float) -> str:
    """A share, to three digits."""
    return f"{share * 100:.3g} %"
