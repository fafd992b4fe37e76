"""Whether a fitted router may take the place of the one that serves: both decide prompts whose outcomes are known.

Refused is one that breaks the bound; that costs more, unless what serves breaks the bound, or harms more than it allows
here and than the new one does, which saves at least half of what the serving one would if it were held to the bound; or
that harms more without costing less. Each is held to be so where chance alone would show as much in one of twenty
comparisons: the binomial tail of harms against the bound, the sign test on prompts that only one of both harms, and the
normal tail of the mean difference in cost, prompt by prompt. Where prompts have groups, what counts is each group's
mean, as prompts of one may harm together.

Callers who wait for the whole answer are decided for apart, where either router asks a cheaper model first for them.
And where both send everything to the default, as under a bound of 0, that compares nothing: the least bound that does
is held to instead, as some caller may ask for it.

Callers may ask for other bounds and goals: the new one has to keep some of these bounds too, and may be neither worse
at the best answers, of all models or of the weaker ones as within a budget, nor slower at the fastest. It is refused
for all other bounds together by chance no more often than for the operator's, and so for all other goals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, norm

from services.router.decided import RARELY, Decided, decide
from services.router.fit import Outcomes
from services.router.policy import Policy
from services.router.query import Goal, Objective

LEAST_PROMPTS = 100
_TELLING = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # bounds that callers may ask for
_OTHERS = (0.01, 0.05, 0.2)  # of them, held to beside the operator's
_ENOUGH = 0.5  # of what the serving router would save within the bound


class _Words(NamedTuple):
    """What it is called that a router costs more, or no less, of what a goal would have less of."""

    dearer: str
    no_cheaper: str


_WORDS = {
    Goal.CHEAPEST: _Words("it costs {:.4g} a prompt, what serves {:.4g}", "it costs no less"),
    Goal.FASTEST: _Words("it takes {:.4g} s a prompt, what serves {:.4g} s", "it is no faster"),
    Goal.BEST: _Words("it misses {:.4g} of the score, what serves {:.4g}", "it is no better"),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Both routers' decisions under an objective, and why the new one may not serve; empty where it may.

    `also` is whether it is of callers who ask for another bound or goal.
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

    Last comes another bound that the new one breaks, or a goal that it is worse at, if there is one.

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
            decided = decide(new, outcomes, encoder_digest, under)
            before = decide(serving, outcomes, encoder_digest, under) if serving else None
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
    broken = _broken(new, outcomes, encoder_digest, objective)
    return [*found, *(broken or _worse_at(new, serving, outcomes, encoder_digest, objective))]


def _broken(new: Policy, outcomes: Outcomes, encoder_digest: str, objective: Objective) -> Sequence[Verdict]:
    """The first of other bounds that the new one breaks, if there is one."""
    others = [bound for bound in _OTHERS if bound != objective.max_quality_loss]
    for bound in others:
        under = replace(objective, max_quality_loss=bound)
        decided = decide(new, outcomes, encoder_digest, under)
        if decided.breaks(bound, RARELY / len(others)):
            return [Verdict(under, decided, None, f"for callers who ask for that bound, {decided.broken(bound)}", True)]
    return []


def _worse_at(
    new: Policy, serving: Policy | None, outcomes: Outcomes, encoder_digest: str, objective: Objective
) -> Sequence[Verdict]:
    """The first other goal that the new one is worse at, if there is one."""
    goals = _other_goals(new, outcomes, objective)
    for asked, under in goals.items():
        decided = decide(new, outcomes, encoder_digest, under)
        before = decide(serving, outcomes, encoder_digest, under) if serving else None
        if told := refusal(decided, before, under.max_quality_loss, under.goal, RARELY / len(goals)):
            return [Verdict(under, decided, before, f"for callers who ask for {asked}, {told}", True)]
    return []


def _other_goals(new: Policy, outcomes: Outcomes, objective: Objective) -> Mapping[str, Objective]:
    """What callers may ask for instead of the cheapest, by what that is called."""
    found = {
        "the fastest answer": replace(objective, goal=Goal.FASTEST),
        "the best answer": replace(objective, goal=Goal.BEST),
    }
    if len(outcomes.scores) > 2:
        without = replace(objective, goal=Goal.BEST, denied_models=(new.default_model,))
        found["the best answer of weaker models, as within a budget"] = without
    return found


def refusal(
    new: Decided, serving: Decided | None, bound: float, goal: Goal = Goal.CHEAPEST, rarely: float = RARELY
) -> str:
    """Why the new one may not serve; empty where it may.

    Args:
        new: its decisions.
        serving: those of what serves, on the same prompts; None where nothing does.
        bound: on the share harmed.
        goal: what their costs are of.
        rarely: how seldom chance alone may refuse, for each of the reasons.
    """
    if new.breaks(bound, rarely):
        return new.broken(bound)
    if serving is None:
        return ""
    words = _WORDS[goal]
    dearer, cheaper = _more(new.cost - serving.cost, rarely), _more(serving.cost - new.cost, rarely)
    more, fewer = int((new.harmed > serving.harmed).sum()), int((new.harmed < serving.harmed).sum())
    safer = serving.harmed.mean() > bound and binom.sf(fewer - 1, more + fewer, 0.5) < rarely
    if dearer and not serving.breaks(bound, rarely) and not (safer and _saves(new, serving, bound, rarely)):
        return words.dearer.format(new.cost.mean(), serving.cost.mean())
    if not cheaper and binom.sf(more - 1, more + fewer, 0.5) < rarely:
        return f"it harms more on {more} {new.noun}, what serves on {fewer}, and {words.no_cheaper}"
    return ""


def _saves(new: Decided, serving: Decided, bound: float, rarely: float) -> bool:
    """Whether the new one saves half, by all that chance leaves open, of what the serving one would within the bound.

    Held to the bound by asking the strongest now and then by chance, that would save so much less as it harms more.
    """
    enough = _ENOUGH * bound / serving.harmed.mean() * (serving.strong - serving.cost)
    return not _more(enough - (new.strong - new.cost), rarely)


def _more(difference: NDArray[np.float64], rarely: float) -> bool:
    """Whether its mean is above nothing by more than chance makes it so rarely."""
    mean, error = float(difference.mean()), float(difference.std(ddof=1)) / np.sqrt(len(difference))
    return bool(norm.sf(mean / error) < rarely) if error else mean > 0
