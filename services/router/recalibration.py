"""Calibrates a fitted router anew on logged outcomes; `python -m services.router.recalibration` is the command.

The fit stays, only how far it may be trusted is read anew: from decisions whose answers by the default and by every
weaker model were scored. What counts is what was predicted then, so decisions of another fit are
passed over. Where only some weaker models were scored nothing is known of the others, and the decision is passed over.
Repeats of a prompt are one group, as in any calibration (a line that does not tell which is passed over), and a prompt
that no promise covered is never sent to a weaker model. Where only answers of weaker models are scored, and not those
that went to the default, harm is counted among fewer than all prompts: the threshold is then stricter than need be, and
never beyond what was scored.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from services.chassis.settings import ConfigError
from services.router.artefact import Artefact, load_artefact, same_fit
from services.router.plan import RIGHT
from services.router.scored import InvalidOutcomes

LEAST_PROMPTS = 100


@dataclass(slots=True)
class _Decision:
    group: str
    unfamiliar: bool
    losses: dict[str, float | None] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)

    def tells(self, models: Sequence[str]) -> bool:
        """Whether all of them were predicted and scored."""
        return all(self.losses.get(model) is not None for model in models)

    def row(self, models: Sequence[str]) -> list[float]:
        """The models' losses, as a calibration has them."""
        return [math.inf if self.unfamiliar else self.losses[model] or 0.0 for model in models]


def logged(path: Path) -> Iterable[Mapping[str, Any]]:
    """The lines of an outcome log, of the file before it was last rotated too.

    Raises:
        InvalidOutcomes: names file, line and field of the first mistake.
    """
    older = path.with_name(path.name + ".1")
    for file in (older, path) if older.exists() else (path,):
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidOutcomes(f"{file}: cannot be read: {error}") from error
        for place, line in enumerate(lines, 1):
            yield _checked(f"{file}, line {place}", line)


def recalibrated(artefact: Artefact, outcomes: Iterable[Mapping[str, Any]]) -> Artefact:
    """The artefact with its calibration replaced by the decisions that all its models were scored on.

    Raises:
        InvalidOutcomes: such decisions are of fewer than 100 prompts.
    """
    models, default = artefact.facts.models, artefact.facts.default_model
    decisions: dict[str, _Decision] = {}
    for line in outcomes:
        if not line["group"] or not same_fit(line["version"], artefact.version):
            continue
        decision = decisions.setdefault(line["decision_id"], _Decision(line["group"], line["unfamiliar"]))
        model = line["planned"]["model"]
        if model not in decision.scores:  # the first score counts
            decision.losses[model], decision.scores[model] = line["planned"]["loss"], line["score"]
    whole = [one for one in decisions.values() if one.tells(models)]
    groups = np.unique(np.array([one.group for one in whole]), return_inverse=True)[1]
    prompts = len(set(groups.tolist()))
    if prompts < LEAST_PROMPTS:
        told = f"{len(whole)} of {len(decisions)} decisions with scores and predictions of all of {', '.join(models)}"
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
    )


def _checked(where: str, line: str) -> Mapping[str, Any]:
    try:
        found = json.loads(line)
    except json.JSONDecodeError as error:
        raise InvalidOutcomes(f"{where}: is not JSON: {error.msg}") from error
    planned = found.get("planned") if isinstance(found, dict) else None
    if not isinstance(planned, dict) or not isinstance(planned.get("model"), str):
        raise InvalidOutcomes(f"{where}: planned: got {planned!r}, expected a model with what was predicted of it")
    if not isinstance(found.get("decision_id"), str):
        raise InvalidOutcomes(f"{where}: decision_id: got {found.get('decision_id')!r}, expected a text")
    if not isinstance(found.get("version"), str):
        raise InvalidOutcomes(f"{where}: version: got {found.get('version')!r}, expected that of a predictor")
    for name, value in (("score", found.get("score")), ("planned.loss", planned.get("loss") or 0.0)):
        if not isinstance(value, int | float) or not 0 <= value <= 1:
            raise InvalidOutcomes(f"{where}: {name}: got {value!r}, expected a number from 0 to 1")
    for name, kind, told in (("group", str, "a text"), ("unfamiliar", bool, "true or false")):
        if name in found and not isinstance(found[name], kind):
            raise InvalidOutcomes(f"{where}: {name}: got {found[name]!r}, expected {told}")
    return {"group": "", "unfamiliar": False, **found, "planned": {"loss": None, **planned}}


def main() -> None:
    """Reads an artefact and a log, writes the calibrated artefact, and says what it was calibrated on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artefact", type=Path, help="the one that made the decisions")
    parser.add_argument("outcomes", type=Path, help="router.outcome_log")
    parser.add_argument("out", type=Path, help="the artefact to write")
    arguments = parser.parse_args()
    try:
        found = recalibrated(load_artefact(arguments.artefact), logged(arguments.outcomes))
    except (ConfigError, InvalidOutcomes) as error:
        sys.exit(f"error: {error}")
    found.save(arguments.out)
    harms = {name: share for name, share in found.facts.metrics.items() if name.startswith("harm.")}
    told = ", ".join(f"{name.removeprefix('harm.')} {share:.2%}" for name, share in harms.items())
    counted = f"{len(found.calibration_losses)} decisions of {len(set(found.calibration_groups.tolist()))} prompts"
    print(f"{arguments.out}: calibrated on {counted}; harm if always chosen: {told}")


if __name__ == "__main__":
    main()
