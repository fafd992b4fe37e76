"""What models would do on all traffic, whomever the router chose: from decisions drawn so that every model answered.

Answers of a weaker model that were served come from prompts predicted to be easy for it, and say nothing of the others;
where callers' bounds differ those less easy are the lax callers' alone, and too few among them.
Explored decisions were drawn whatever was predicted or chosen, with a probability that is in the log; one drawn with p
stands for 1/p requests (Horvitz and Thompson 1952, as Hajek's ratio), so that the share may change meanwhile.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from services.router.logged_decisions import Decision

_TAIL = 0.025  # on either side of the interval


@dataclass(frozen=True, slots=True)
class Estimate:
    """Share of all requests that a model would answer worse than the default, from `low` to `high` with 95 %."""

    harm: float
    low: float
    high: float
    answers: int


def estimated_harm(decisions: Sequence[Decision], model: str, default: str) -> Estimate | None:
    """What a model would harm if it answered everything, by the answers scored; None where no explored prompt tells."""
    known = [one for one in decisions if one.explored and {model, default} <= set(one.scores)]
    if not known:
        return None
    _, prompt = np.unique(np.array([one.group for one in known]), return_inverse=True)
    weights = np.array([1 / (one.explored or 1.0) for one in known])
    harmed = np.array([one.harmed(model, default) for one in known], np.float64)
    harm = min(1.0, float(weights @ harmed / weights.sum()))
    return Estimate(harm, *exact_interval(harm, _draws(harm, weights, harmed, prompt)), len(known))


def _draws(harm: float, weights: NDArray[np.float64], harmed: NDArray[np.float64], prompt: NDArray[np.intp]) -> float:
    """How many draws of equal probability would tell as much: repeats of a prompt are one draw (Kish 1965).

    Fewer where the harms vary more than that, as where those that stand for many requests are the harmed ones.
    """
    of_prompt = np.bincount(prompt, weights)
    draws = float(weights.sum() ** 2 / (of_prompt @ of_prompt))
    residuals = np.bincount(prompt, weights * (harmed - harm))
    variance = float(residuals @ residuals) / float(weights.sum()) ** 2
    return min(draws, harm * (1 - harm) / variance) if variance > 0 else draws


def exact_interval(harm: float, draws: float) -> tuple[float, float]:
    """Clopper and Pearson's (1934), which holds however rare harm is, for so many draws (Korn and Graubard 1998)."""
    harms, rest = harm * draws, (1 - harm) * draws
    low = float(beta.ppf(_TAIL, harms, rest + 1)) if harms > 0 else 0.0
    high = float(beta.isf(_TAIL, harms + 1, rest)) if rest > 0 else 1.0
    return low, high


def fair_sample(decisions: Sequence[Decision], models: Sequence[str]) -> Sequence[Decision]:
    """Decisions that are a fair sample of all, as far as the log has one, each drawn as often as any other.

    Explored ones that all models were scored on, where there are any. Else those drawn for a comparison, with the ones
    that went to the default among them: what nobody compared there counts as worse (`Decision.harmed`), so that no
    threshold grows by what was never asked, whatever the bounds of callers were. Those that asked nobody else by any
    bound are left out, and those whose caller excluded one of the models: of these there would be too little harm for
    the callers who do not. Else those without a probability that all models were scored on, which are so by the word of
    whoever scored them.
    """
    told = [one for one in decisions if one.tells(models)]
    if explored := [one for one in told if one.explored]:
        return _drawn_alike(explored, [one.explored or 1.0 for one in explored])
    drawn = [one for one in decisions if one.sampled and (one.contested or (one.unfamiliar and one.bound is not None))]
    if drawn := [one for one in drawn if not set(models).intersection(one.excluded)]:
        return _drawn_alike(drawn, [one.sampled or 1.0 for one in drawn])
    return [one for one in told if not one.sampled]


def _drawn_alike(decisions: Sequence[Decision], probabilities: Sequence[float]) -> Sequence[Decision]:
    """As if all had been drawn with the least probability of any: a part is left out by chance, the same each time."""
    kept = np.random.default_rng(0).uniform(size=len(decisions)) * np.array(probabilities) < min(probabilities)
    return [one for one, keep in zip(decisions, kept, strict=True) if keep]
