"""Whether a fitted router may take the place of the one that serves: both decide prompts whose outcomes are known.

Refused is one that breaks the bound; that costs more, unless what serves breaks the bound; or that harms more without
costing less. Each is held to be so where chance alone would show as much in one of twenty comparisons: the binomial
tail of harms against the bound, the sign test on prompts that only one of both harms, and the normal tail of the mean
difference in cost, prompt by prompt. Where prompts have groups, what counts is each group's mean, as prompts of one may
harm together.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, norm

from services.router.fit import Outcomes
from services.router.plan import RIGHT
from services.router.policy import Policy
from services.router.predictor import Vector
from services.router.query import Objective, Query

LEAST_PROMPTS = 100
_RARELY = 0.05


@dataclass(frozen=True, slots=True)
class Decided:
    """What one router's decisions gave, [n]: the share harmed, and nano-dollars, or 1 a strong call.

    Each of n is one prompt, or the mean of a group's where `grouped`.
    """

    harmed: NDArray[np.float64]
    cost: NDArray[np.float64]
    grouped: bool = False

    def breaks(self, bound: float) -> bool:
        """Whether it harms more often than the bound allows, beyond chance.

        The binomial tail is exact for prompts. For means of groups, whatever happens within one, e times that tail is
        no less than theirs (Bentkus 2004, as in Angelopoulos et al., arXiv:2110.01052).
        """
        harms = np.floor(self.harmed.sum() + 1e-9)
        return bool((np.e if self.grouped else 1) * binom.sf(harms - 1, len(self.harmed), bound) < _RARELY)

    @property
    def noun(self) -> str:
        """What is counted."""
        return "groups of prompts" if self.grouped else "prompts"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Both routers' decisions, and why the new one may not serve; empty where it may."""

    new: Decided
    serving: Decided | None
    refused: str


def compare(
    new: Policy, serving: Policy | None, outcomes: Outcomes, encoder_digest: str, objective: Objective
) -> Verdict:
    """Has both decide every prompt.

    Args:
        new: the one that would serve.
        serving: the one that does; None where nothing serves yet.
        outcomes: prompts that neither was fitted on, with scores of all models that either may choose.
        encoder_digest: of the embeddings.
        objective: the operator's, whose bound is held.

    Raises:
        ValueError: fewer than 100 prompts, or groups of them.
        FulcrumError: a prompt, or its embedding, that a router refuses.
    """
    asked = len(set(outcomes.groups))
    if asked < LEAST_PROMPTS:
        noun = "groups of prompts" if asked < len(outcomes.prompts) else "prompts"
        raise ValueError(f"outcomes: got {asked} {noun}, expected at least {LEAST_PROMPTS}")
    decided = _decided(new, outcomes, encoder_digest, objective)
    before = _decided(serving, outcomes, encoder_digest, objective) if serving else None
    return Verdict(decided, before, refusal(decided, before, objective.max_quality_loss))


def _decided(policy: Policy, outcomes: Outcomes, encoder_digest: str, objective: Objective) -> Decided:
    harmed: list[float] = []
    cost: list[float] = []
    for row, (prompt, embedding) in enumerate(zip(outcomes.prompts, outcomes.embeddings, strict=True)):
        vector = Vector(embedding, encoder_digest)
        plan = policy.plan(Query(prompt, objective, vector, candidates=tuple(outcomes.scores)))
        chosen, strong = (outcomes.scores[name][row] for name in (plan.models[0].model, plan.strongest))
        harmed.append(chosen < RIGHT <= strong)
        costs = [one.cost_nano_usd for one in plan.models]
        cost.append(float(plan.models[0].model == plan.strongest) if None in costs else costs[0] or 0)
    groups = np.unique(np.asarray(outcomes.groups), return_inverse=True)[1]
    sizes = np.bincount(groups)
    of_harm, of_cost = (np.bincount(groups, weights) / sizes for weights in (harmed, cost))
    return Decided(of_harm, of_cost, grouped=len(sizes) < len(harmed))


def refusal(new: Decided, serving: Decided | None, bound: float) -> str:
    """Why the new one may not serve; empty where it may."""
    asked = len(new.harmed)
    if new.breaks(bound):
        harms = f"it harms {new.harmed.sum():.4g} of {asked} {new.noun}"
        return f"{harms}, more than a bound of {bound:.3g} allows by chance"
    if serving is None:
        return ""
    difference = new.cost - serving.cost
    error = float(difference.std(ddof=1)) / np.sqrt(asked)
    standard = float(difference.mean()) / error if error else float(np.sign(difference.mean())) * np.inf
    dearer, cheaper = norm.sf(standard) < _RARELY, norm.cdf(standard) < _RARELY
    if dearer and not serving.breaks(bound):
        return f"it costs {new.cost.mean():.4g} a prompt, what serves {serving.cost.mean():.4g}"
    more, fewer = int((new.harmed > serving.harmed).sum()), int((new.harmed < serving.harmed).sum())
    if not cheaper and binom.sf(more - 1, more + fewer, 0.5) < _RARELY:
        return f"it harms more on {more} {new.noun}, what serves on {fewer}, and it costs no less"
    return ""
