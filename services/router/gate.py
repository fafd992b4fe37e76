"""Whether a fitted router may take the place of the one that serves: both decide prompts whose outcomes are known.

Refused is one that breaks the bound; that costs more, unless what serves breaks the bound; or that harms more without
costing less. Each is held to be so where chance alone would show as much in one of twenty comparisons: the exact
binomial tail of harms against the bound, the sign test on prompts that only one of both harms, and the normal tail of
the mean difference in cost, prompt by prompt.
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
    """What one router's decisions on n prompts gave, [n]: whether they harmed, and nano-dollars, or 1 a strong call."""

    harmed: NDArray[np.bool_]
    cost: NDArray[np.float64]

    def breaks(self, bound: float) -> bool:
        """Whether it harms more often than the bound allows, beyond chance."""
        return bool(binom.sf(self.harmed.sum() - 1, len(self.harmed), bound) < _RARELY)


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
        outcomes: prompts that neither was fitted on, with scores of all models that may be chosen.
        encoder_digest: of the embeddings.
        objective: the operator's, whose bound is held.

    Raises:
        ValueError: fewer than 100 prompts.
        FulcrumError: a prompt, or its embedding, that a router refuses.
    """
    if len(outcomes.prompts) < LEAST_PROMPTS:
        raise ValueError(f"outcomes: got {len(outcomes.prompts)} prompts, expected at least {LEAST_PROMPTS}")
    decided = _decided(new, outcomes, encoder_digest, objective)
    before = _decided(serving, outcomes, encoder_digest, objective) if serving else None
    return Verdict(decided, before, refusal(decided, before, objective.max_quality_loss))


def _decided(policy: Policy, outcomes: Outcomes, encoder_digest: str, objective: Objective) -> Decided:
    harmed, cost = [], []
    for row, (prompt, embedding) in enumerate(zip(outcomes.prompts, outcomes.embeddings, strict=True)):
        vector = Vector(embedding, encoder_digest)
        plan = policy.plan(Query(prompt, objective, vector, candidates=tuple(outcomes.scores)))
        chosen, strong = (outcomes.scores[name][row] for name in (plan.models[0].model, plan.strongest))
        harmed.append(bool(chosen < RIGHT <= strong))
        priced = all(one.cost_nano_usd is not None for one in plan.models)
        cost.append(plan.models[0].cost_nano_usd if priced else float(plan.models[0].model == plan.strongest))
    return Decided(np.array(harmed), np.array(cost, np.float64))


def refusal(new: Decided, serving: Decided | None, bound: float) -> str:
    """Why the new one may not serve; empty where it may."""
    prompts = len(new.harmed)
    if new.breaks(bound):
        return f"it harms {new.harmed.sum()} of {prompts} prompts, more than a bound of {bound:.3g} allows by chance"
    if serving is None:
        return ""
    difference = new.cost - serving.cost
    error = float(difference.std(ddof=1)) / np.sqrt(prompts)
    standard = float(difference.mean()) / error if error else float(np.sign(difference.mean())) * np.inf
    dearer, cheaper = norm.sf(standard) < _RARELY, norm.cdf(standard) < _RARELY
    if dearer and not serving.breaks(bound):
        return f"it costs {new.cost.mean():.4g} a prompt, what serves {serving.cost.mean():.4g}"
    only_new, only_old = int((new.harmed & ~serving.harmed).sum()), int((serving.harmed & ~new.harmed).sum())
    if not cheaper and binom.sf(only_new - 1, only_new + only_old, 0.5) < _RARELY:
        return f"on {only_new} prompts it alone harms, on {only_old} what serves, and it costs no less"
    return ""
