"""Whether a finished answer will do, or a stronger model of its plan should be asked."""

import math
from dataclasses import dataclass

from services.router.decisions import place
from services.router.explanation import percent
from services.router.plan import Plan
from services.router.risk import Check


@dataclass(frozen=True, slots=True)
class Signals:
    """What is known of an answer: who wrote it, whether it ended by itself, its tokens, how likely they were.

    `agreement` is the share of repeats that say the same.
    """

    model: str
    complete: bool
    output_tokens: int
    mean_logprob: float | None = None
    agreement: float | None = None


@dataclass(frozen=True, slots=True)
class Assessment:
    """`escalate_to` is empty where the answer is accepted."""

    escalate_to: str
    explanation: str


def assess(plan: Plan, signals: Signals) -> Assessment:
    """Escalates an answer that is empty or was cut off, while a stronger model is left, or that fails the plan's check.

    Raises:
        NotFound: the model is not part of the plan.
    """
    place(plan, signals.model, "signals.model")
    if plan.check and signals.model == plan.models[0].model and signals.complete and signals.output_tokens > 0:
        return _checked(plan, plan.check, signals)
    if signals.complete and signals.output_tokens > 0:
        return Assessment("", f"{signals.model} finished its answer of {signals.output_tokens} tokens.")
    fault = "was cut off" if signals.output_tokens > 0 else "is empty"
    names = [planned.model for planned in plan.models]
    if names.index(signals.model) >= names.index(plan.strongest):  # what stands before it in the plan was tried before
        return Assessment("", f"The answer of {signals.model} {fault}, but no stronger model is left in its plan.")
    return Assessment(plan.strongest, f"The answer of {signals.model} {fault}, so {plan.strongest} is asked.")


def _checked(plan: Plan, check: Check, signals: Signals) -> Assessment:
    certainty = signals.agreement if check.repeats else signals.mean_logprob
    risk, allowed = check.risk_of(certainty), f"below {percent(check.threshold)} is allowed"
    if risk == math.inf:
        return Assessment(plan.strongest, f"How sure {signals.model} was is not known, so {plan.strongest} is asked.")
    agreeing = f"{round((signals.agreement or 0) * check.repeats)} of {check.repeats} repeats agree"
    why = agreeing if check.repeats else "its tokens are so likely"
    found = f"The answer of {signals.model} is worse than {plan.strongest}'s with {percent(risk)}, as {why}"
    return Assessment("" if risk < check.threshold else plan.strongest, f"{found}, where {allowed}.")
