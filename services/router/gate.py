"""Whether a fitted router may take the place of the one that serves: both decide prompts whose outcomes are known.

Refused is one that breaks the bound; that costs more, unless what serves breaks the bound, or harms more than it allows
here and than the new one does; or that harms more without costing less. Each is held to be so where chance alone would
show as much in one of twenty comparisons: the binomial tail of harms against the bound, the sign test on prompts that
only one of both harms, and the normal tail of the mean difference in cost, prompt by prompt. Where prompts have groups,
what counts is each group's mean, as prompts of one may harm together.

Callers who wait for the whole answer are decided for apart, where either router asks a cheaper model first for them.
And where both send everything to the default, as under a bound of 0, that compares nothing: the least bound that does
is held to instead, as some caller may ask for it.

Callers may ask for other bounds: the new one has to keep some of these too, and is refused for all together by chance
no more often than for the operator's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, norm

from services.router.assessment import Signals, assess
from services.router.fit import Outcomes
from services.router.harm import harms
from services.router.plan import Plan
from services.router.policy import Policy
from services.router.predictor import Vector
from services.router.query import Objective, Query

LEAST_PROMPTS = 100
_RARELY = 0.05
_TELLING = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # bounds that callers may ask for
_OTHERS = (0.01, 0.05, 0.2)  # of them, held to beside the operator's


@dataclass(frozen=True, slots=True)
class Decided:
    """What one router's decisions gave, [n]: the share harmed, and nano-dollars, or 1 a strong call.

    Each of n is one prompt, or the mean of a group's where `grouped`. `weak` is the share of prompts that a weaker
    model was asked, `first` that of those where its answer was assessed.
    """

    harmed: NDArray[np.float64]
    cost: NDArray[np.float64]
    grouped: bool = False
    weak: float = 1.0
    first: float = 0.0

    def breaks(self, bound: float, rarely: float = _RARELY) -> bool:
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


@dataclass(frozen=True, slots=True)
class Verdict:
    """Both routers' decisions under an objective, and why the new one may not serve; empty where it may.

    `also` is whether it is of callers who ask for another bound.
    """

    objective: Objective
    new: Decided
    serving: Decided | None
    refused: str
    also: bool = False

    def any(self, share: str) -> bool:
        """Whether either router has such a share, `weak` or `first`, of the prompts."""
        return any(one is not None and getattr(one, share) > 0 for one in (self.new, self.serving))


def compare(
    new: Policy, serving: Policy | None, outcomes: Outcomes, encoder_digest: str, objective: Objective
) -> Sequence[Verdict]:
    """Has both decide every prompt, for callers of streams and then, if that differs, for those who wait.

    Last comes another bound that the new one breaks, if there is one.

    Args:
        new: the one that would serve.
        serving: the one that does; None where nothing serves yet.
        outcomes: prompts that neither was fitted on, with scores of all models that either may choose.
        encoder_digest: of the embeddings.
        objective: the operator's, whose bound is held where it tells the two apart from always asking the default.

    Raises:
        ValueError: fewer than 100 prompts, or groups of them, or none tells how sure a model was that is asked first.
        FulcrumError: a prompt, or its embedding, that a router refuses.
    """
    asked = len(set(outcomes.groups))
    if asked < LEAST_PROMPTS:
        noun = "groups of prompts" if asked < len(outcomes.prompts) else "prompts"
        raise ValueError(f"outcomes: got {asked} {noun}, expected at least {LEAST_PROMPTS}")
    bounds = [objective.max_quality_loss, *(bound for bound in _TELLING if bound > objective.max_quality_loss)]

    def held(whole_answer: bool) -> Verdict:
        for bound in bounds:
            under = replace(objective, max_quality_loss=bound, whole_answer=whole_answer)
            decided = _decided(new, outcomes, encoder_digest, under)
            before = _decided(serving, outcomes, encoder_digest, under) if serving else None
            refused = refusal(decided, before, bound)
            told = f"of answers that are awaited whole, {refused}" if refused and whole_answer else refused
            found = Verdict(under, decided, before, told)
            if found.any("weak"):
                break
        return found

    streamed, waited = held(False), held(True)
    found = [streamed, waited] if waited.any("first") else [streamed]
    if any(one.refused for one in found):
        return found
    return [*found, *_broken(new, outcomes, encoder_digest, objective)]


def _broken(new: Policy, outcomes: Outcomes, encoder_digest: str, objective: Objective) -> Sequence[Verdict]:
    """The first of other bounds that the new one breaks, if there is one."""
    others = [bound for bound in _OTHERS if bound != objective.max_quality_loss]
    for bound in others:
        under = replace(objective, max_quality_loss=bound)
        decided = _decided(new, outcomes, encoder_digest, under)
        if decided.breaks(bound, _RARELY / len(others)):
            return [Verdict(under, decided, None, f"for callers who ask for that bound, {decided.broken(bound)}", True)]
    return []


def _decided(policy: Policy, outcomes: Outcomes, encoder_digest: str, objective: Objective) -> Decided:
    harmed: list[float] = []
    cost: list[float] = []
    weak, first, known = 0, 0, 0
    for row, (prompt, embedding) in enumerate(zip(outcomes.prompts, outcomes.embeddings, strict=True)):
        vector = Vector(embedding, encoder_digest)
        plan = policy.plan(Query(prompt, objective, vector, candidates=tuple(outcomes.scores)))
        certainty = _certainty(plan, outcomes, row)
        asked = _asked(plan, certainty)
        chosen, strong = (outcomes.scores[name][row] for name in (asked[-1], plan.strongest))
        harmed.append(harms(chosen, strong))
        costs = {one.model: one.cost_nano_usd for one in plan.models}
        unpriced = None in costs.values()
        cost.append(float(asked[-1] == plan.strongest) if unpriced else sum(costs[name] or 0 for name in asked))
        weak += asked[0] != plan.strongest
        first, known = first + bool(plan.check), known + (certainty is not None)
    if first and not known:
        raise ValueError("outcomes: got no mean_logprobs of models that are asked first, expected them")
    groups = np.unique(np.asarray(outcomes.groups), return_inverse=True)[1]
    sizes = np.bincount(groups)
    of_harm, of_cost = (np.bincount(groups, weights) / sizes for weights in (harmed, cost))
    return Decided(of_harm, of_cost, len(sizes) < len(harmed), weak / len(harmed), first / len(harmed))


def _certainty(plan: Plan, outcomes: Outcomes, row: int) -> float | None:
    """How sure the model was that is asked first, as far as that is known; None where none is."""
    told = outcomes.mean_logprobs.get(plan.models[0].model) if plan.check else None
    return None if told is None or not np.isfinite(told[row]) else float(told[row])


def _asked(plan: Plan, certainty: float | None) -> Sequence[str]:
    """Who is asked, the last of whom answers."""
    model = plan.models[0].model
    escalate_to = assess(plan, Signals(model, True, 1, certainty)).escalate_to if plan.check else ""
    return [model, escalate_to] if escalate_to else [model]


def refusal(new: Decided, serving: Decided | None, bound: float) -> str:
    """Why the new one may not serve; empty where it may."""
    if new.breaks(bound):
        return new.broken(bound)
    if serving is None:
        return ""
    difference = new.cost - serving.cost
    error = float(difference.std(ddof=1)) / np.sqrt(len(difference))
    standard = float(difference.mean()) / error if error else float(np.sign(difference.mean())) * np.inf
    dearer, cheaper = norm.sf(standard) < _RARELY, norm.cdf(standard) < _RARELY
    more, fewer = int((new.harmed > serving.harmed).sum()), int((new.harmed < serving.harmed).sum())
    safer = serving.harmed.mean() > bound and binom.sf(fewer - 1, more + fewer, 0.5) < _RARELY
    if dearer and not serving.breaks(bound) and not safer:
        return f"it costs {new.cost.mean():.4g} a prompt, what serves {serving.cost.mean():.4g}"
    if not cheaper and binom.sf(more - 1, more + fewer, 0.5) < _RARELY:
        return f"it harms more on {more} {new.noun}, what serves on {fewer}, and it costs no less"
    return ""
