"""What one router's decisions give on prompts whose outcomes are known: harm, and what its goal would have less of."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from services.router.assessment import Signals, assess
from services.router.fit import Outcomes
from services.router.harm import harms
from services.router.plan import Plan, Planned
from services.router.policy import Policy
from services.router.predictor import Vector
from services.router.query import Goal, Objective, Query

RARELY = 0.05  # of comparisons, in which chance alone may show as much


@dataclass(frozen=True, slots=True)
class Decided:
    """What the decisions gave, [n] each; each of n is one prompt, or the mean of a group's where `grouped`.

    Args:
        harmed: the share of answers that were worse than the strongest model's.
        cost: what the goal would have less of: nano-dollars, seconds (where some are not known 1 a strong call for
            either), or how much of the score is missed.
        strong: what that is where the strongest model answers everything.
        weak: the share of prompts that a weaker model was asked.
        first: that of those where its answer was assessed.
    """

    harmed: NDArray[np.float64]
    cost: NDArray[np.float64]
    strong: NDArray[np.float64]
    grouped: bool = False
    weak: float = 1.0
    first: float = 0.0

    def breaks(self, bound: float, rarely: float = RARELY) -> bool:
        """Whether it harms more often than the bound allows, which by chance would be seen so rarely.

        The binomial tail is exact for prompts. For means of groups, whatever happens within one, e times that tail is
        no less than theirs (Bentkus 2004, as in Angelopoulos et al., arXiv:2110.01052).
        """
        count = np.floor(self.harmed.sum() + 1e-9)
        return bool((np.e if self.grouped else 1) * binom.sf(count - 1, len(self.harmed), bound) < rarely)

    def broken(self, bound: float) -> str:
        """That it does, in words."""
        told = f"it harms {self.harmed.sum():.4g} of {len(self.harmed)} {self.noun}"
        return f"{told}, more than a bound of {bound:.3g} allows by chance"

    @property
    def noun(self) -> str:
        """What is counted."""
        return "groups of prompts" if self.grouped else "prompts"


def decide(policy: Policy, outcomes: Outcomes, encoder_digest: str, objective: Objective) -> Decided:
    """Has a router decide every prompt.

    Raises:
        ValueError: none tells how sure a model was that is asked first, by the signal that its router goes by.
        FulcrumError: a prompt, or its embedding, that the router refuses.
    """
    harmed: list[float] = []
    cost: list[float] = []
    strong: list[float] = []
    weak, first, known = 0, 0, 0
    for row, (prompt, embedding) in enumerate(zip(outcomes.prompts, outcomes.embeddings, strict=True)):
        vector = Vector(embedding, encoder_digest)
        plan = policy.plan(Query(prompt, objective, vector, candidates=tuple(outcomes.scores)))
        certainty = _certainty(plan, outcomes, row)
        asked = _asked(plan, certainty)
        scores = [float(outcomes.scores[name][row]) for name in (asked[-1], plan.strongest)]
        harmed.append(harms(*scores))
        cost.append(_spent(plan, asked, objective.goal, scores[0]))
        strong.append(_spent(plan, [plan.strongest], objective.goal, scores[1]))
        weak += asked[0] != plan.strongest
        first, known = first + bool(plan.check), known + (certainty is not None)
    if first and not known:
        raise ValueError("outcomes: got no mean_logprobs or agreements of models that are asked first, expected them")
    groups = np.unique(np.asarray(outcomes.groups), return_inverse=True)[1]
    sizes = np.bincount(groups)
    of_harm, of_cost, of_strong = (np.bincount(groups, amounts) / sizes for amounts in (harmed, cost, strong))
    grouped = len(sizes) < len(harmed)
    return Decided(of_harm, of_cost, of_strong, grouped, weak / len(harmed), first / len(harmed))


def _spent(plan: Plan, asked: Sequence[str], goal: Goal, score: float) -> float:
    """By those asked, the last of whom got this score for its answer, in what the goal would have less of."""
    if goal is Goal.BEST:
        return 1 - score
    amounts = {one.model: _amount(one, goal) for one in plan.models}
    if None in amounts.values():
        return float(asked[-1] == plan.strongest)
    return sum(amounts[name] or 0.0 for name in asked)


def _amount(one: Planned, goal: Goal) -> float | None:
    return one.seconds if goal is Goal.FASTEST else one.cost_nano_usd


def _certainty(plan: Plan, outcomes: Outcomes, row: int) -> float | None:
    """How sure the model was that is asked first, as far as that is known; None where none is."""
    if plan.check is None:
        return None
    told = (outcomes.agreements if plan.check.repeats else outcomes.mean_logprobs).get(plan.models[0].model)
    return None if told is None or not np.isfinite(told[row]) else float(told[row])


def _asked(plan: Plan, certainty: float | None) -> Sequence[str]:
    """Who is asked, each time, the last of whom answers."""
    model = plan.models[0].model
    if plan.check is None:
        return [model]
    escalate_to = assess(plan, Signals(model, True, 1, certainty, certainty)).escalate_to
    return [model] * (1 + plan.check.repeats) + ([escalate_to] if escalate_to else [])
