"""What models would do on all traffic, whomever the router chose: from decisions drawn so that every model answered.

Answers of a weaker model that were served come from prompts predicted to be easy for it, and say nothing of the others.
Explored decisions were drawn whatever was predicted or chosen, with a probability that is in the log; one drawn with p
stands for 1/p requests (Horvitz and Thompson 1952, as Hajek's ratio), so that the share may change meanwhile.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.router.logged_decisions import Decision


@dataclass(frozen=True, slots=True)
class Estimate:
    """Share of all requests that a model would answer worse than the default, its standard error, answers scored."""

    harm: float
    error: float
    answers: int


def estimated_harm(decisions: Sequence[Decision], model: str, default: str) -> Estimate | None:
    """What a model would harm if it answered everything; None where fewer than two explored prompts tell.

    To the standard error, that of a ratio of sums over prompts, repeats of a prompt are one draw.
    """
    known = [one for one in decisions if one.explored and {model, default} <= set(one.scores)]
    prompts, place = np.unique(np.array([one.group for one in known]), return_inverse=True)
    if len(prompts) < 2:
        return None
    weights = np.array([1 / (one.explored or 1.0) for one in known])
    harmed = np.array([one.harmed(model, default) for one in known], np.float64)
    harm = float(weights @ harmed / weights.sum())
    residuals = np.bincount(place, weights * (harmed - harm))
    variance = len(prompts) / (len(prompts) - 1) * float(residuals @ residuals) / float(weights.sum()) ** 2
    return Estimate(harm, float(np.sqrt(variance)), len(known))


def drawn_alike(decisions: Sequence[Decision]) -> Sequence[Decision]:
    """The explored ones, as if all had been drawn with the least probability of any; all decisions where none was.

    Of those drawn more often a part is left out by chance, the same each time.
    """
    explored = [(one, one.explored) for one in decisions if one.explored]
    if not explored:
        return decisions
    least, rng = min(probability for _, probability in explored), np.random.default_rng(0)
    kept = rng.uniform(size=len(explored)) * np.array([probability for _, probability in explored]) < least
    return [one for (one, _), keep in zip(explored, kept, strict=True) if keep]
