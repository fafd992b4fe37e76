"""Calibrates a fitted router anew on logged outcomes; `python -m services.router.recalibration` is the command.

The fit stays, only how far it may be trusted is read anew: from decisions whose answers by the default and by every
weaker model were scored. What counts is what was predicted then, so decisions of another fit are
passed over. Where only some weaker models were scored nothing is known of the others, and the decision is passed over.
Repeats of a prompt are one group, as in any calibration (a line that does not tell which is passed over), and a prompt
that no promise covered is never sent to a weaker model.

Where decisions were explored these alone count, as they are a fair sample of all (`services/router/off_policy.py`).
Where none was, only decisions for weaker models have all scores, so that harm is counted among fewer than all prompts:
the threshold is then stricter than need be where callers ask for one bound, and may be too lax where they do not.
"""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from services.chassis.settings import ConfigError
from services.router.artefact import Artefact, load_artefact
from services.router.logged_decisions import Decision, decisions, logged
from services.router.off_policy import drawn_alike, estimated_harm
from services.router.plan import RIGHT
from services.router.scored import InvalidOutcomes

LEAST_PROMPTS = 100


def recalibrated(artefact: Artefact, outcomes: Iterable[Mapping[str, Any]]) -> Artefact:
    """The artefact with its calibration replaced by the decisions that all its models were scored on.

    Raises:
        InvalidOutcomes: such decisions are of fewer than 100 prompts.
    """
    models, default = artefact.facts.models, artefact.facts.default_model
    known = decisions(outcomes, artefact.version)
    whole = drawn_alike([one for one in known if one.tells(models)])
    groups = np.unique(np.array([one.group for one in whole]), return_inverse=True)[1]
    prompts = len(set(groups.tolist()))
    if prompts < LEAST_PROMPTS:
        told = f"{len(whole)} of {len(known)} decisions with scores and predictions of all of {', '.join(models)}"
        raise InvalidOutcomes(f"outcomes: got {prompts} prompts, {told}, expected at least {LEAST_PROMPTS}")
    losses = np.array([one.row(models) for one in whole], np.float32)
    right = np.array([[one.scores[model] >= RIGHT for model in models] for one in whole])
    harms = right[:, [models.index(default)]] & ~right
    metrics = {**artefact.facts.metrics, "unfamiliar_share": float(np.isinf(losses[:, 0]).mean())}
    metrics |= {"recalibrated_decisions": float(len(whole)), "recalibrated_prompts": float(prompts)}
    metrics |= {f"harm.{model}": float(harms[:, column].mean()) for column, model in enumerate(models)}
    return replace(
        artefact,
        facts=replace(artefact.facts, metrics=metrics),
        calibration_losses=losses,
        calibration_harms=harms,
        calibration_groups=groups.astype(np.int32),
        calibration_mean_logprobs=None,
    )


def _told(artefact: Artefact, known: Sequence[Decision]) -> Iterable[str]:
    """A line for each weaker model that was explored: what it would harm, whoever was chosen."""
    default = artefact.facts.default_model
    for model in artefact.facts.models:
        found = None if model == default else estimated_harm(known, model, default)
        if found:
            harm = f"{found.harm:.2%} ± {1.96 * found.error:.2%}"
            yield f"{model}: worse than {default} on {harm} of all requests, by {found.answers} explored answers"


def main() -> None:
    """Reads an artefact and a log, writes the calibrated artefact, and says what it was calibrated on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artefact", type=Path, help="the one that made the decisions")
    parser.add_argument("outcomes", type=Path, help="router.outcome_log")
    parser.add_argument("out", type=Path, help="the artefact to write")
    arguments = parser.parse_args()
    try:
        artefact, lines = load_artefact(arguments.artefact), list(logged(arguments.outcomes))
        for line in _told(artefact, decisions(lines, artefact.version)):
            print(line)
        found = recalibrated(artefact, lines)
    except (ConfigError, InvalidOutcomes) as error:
        sys.exit(f"error: {error}")
    found.save(arguments.out)
    harms = {name: share for name, share in found.facts.metrics.items() if name.startswith("harm.")}
    told = ", ".join(f"{name.removeprefix('harm.')} {share:.2%}" for name, share in harms.items())
    counted = f"{len(found.calibration_losses)} decisions of {len(set(found.calibration_groups.tolist()))} prompts"
    print(f"{arguments.out}: calibrated on {counted}; harm if always chosen: {told}")


if __name__ == "__main__":
    main()
