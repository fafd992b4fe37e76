"""Calibrates a fitted router anew on logged outcomes; `fulcrum router recalibrate` is the command.

The fit stays, only how far it may be trusted is read anew: from decisions whose answers by the default and by every
weaker model were scored. What counts is what was predicted then, so decisions of another fit are passed over. Repeats
of a prompt are one group, as in any calibration (a line that does not tell which is passed over), and a prompt that no
promise covered is never sent to a weaker model.

Where decisions were explored these alone count, as they are a fair sample of all (`services/router/off_policy.py`).
Where none was, comparisons count beside the decisions of the same draws that went to the default, whose weaker answers
nobody knows and which count as worse: the thresholds are then right up to the strictest caller's, and strict beyond.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from services.router.artefact import Artefact
from services.router.logged_decisions import Decision, decisions
from services.router.off_policy import estimated_harm, fair_sample
from services.router.scored import InvalidOutcomes

LEAST_PROMPTS = 100


def recalibrated(artefact: Artefact, outcomes: Iterable[Mapping[str, Any]]) -> Artefact:
    """The artefact with its calibration replaced by the decisions that all its models were scored on.

    Raises:
        InvalidOutcomes: such decisions are of fewer than 100 prompts.
    """
    models, default = artefact.facts.models, artefact.facts.default_model
    known = decisions(outcomes, artefact.version)
    sample = fair_sample(known, models)
    whole = [one for one in sample if one.tells(models)]
    _check(sample, whole, len(known), models)
    groups = np.unique(np.array([one.group for one in sample]), return_inverse=True)[1]
    harms = np.array([[one.harmed(model, default) for model in models] for one in sample], np.bool_)
    metrics = {**artefact.facts.metrics, "unfamiliar_share": float(np.mean([one.unfamiliar for one in sample]))}
    metrics |= {"recalibrated_decisions": float(len(sample)), "recalibrated_prompts": float(groups.max() + 1)}
    metrics |= {f"harm.{model}": float(np.mean([one.harmed(model, default) for one in whole])) for model in models}
    return replace(
        artefact,
        facts=replace(artefact.facts, metrics=metrics),
        calibration_losses=np.array([one.row(models) for one in sample], np.float32),
        calibration_harms=harms,
        calibration_groups=groups.astype(np.int32),
        calibration_mean_logprobs=None,
        calibration_agreements=None,
        calibration_prompts=None,
    )


def _check(sample: Sequence[Decision], whole: Sequence[Decision], known: int, models: Sequence[str]) -> None:
    """That `whole`, those of a sample that all models were scored on, are enough, and no lax callers' prompts alone."""
    prompts = len({one.group for one in whole})
    if prompts < LEAST_PROMPTS:
        told = f"{len(whole)} of {known} decisions with scores and predictions of all of {', '.join(models)}"
        raise InvalidOutcomes(f"outcomes: got {prompts} prompts, {told}, expected at least {LEAST_PROMPTS}")
    bounds = sorted({one.bound for one in sample if one.bound is not None and not one.explored})
    if len(whole) == len(sample) and len(bounds) > 1:
        got = f"compared decisions alone, under bounds from {bounds[0]:g} to {bounds[-1]:g}"
        expected = "those that went to the default as well, explored decisions, or one bound"
        raise InvalidOutcomes(f"outcomes: got {got}, expected {expected}")


def explored_harm(artefact: Artefact, known: Sequence[Decision]) -> Iterable[str]:
    """A line for each weaker model that was explored: what it would harm, whoever was chosen."""
    default = artefact.facts.default_model
    for model in artefact.facts.models:
        found = None if model == default else estimated_harm(known, model, default)
        if found:
            harm = f"{found.harm:.2%} ({found.low:.2%} to {found.high:.2%})"
            yield f"{model}: worse than {default} on {harm} of all requests, by {found.answers} explored answers"
