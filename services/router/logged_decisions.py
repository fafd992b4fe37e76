"""Reads the log of outcomes: decisions with what was predicted then, and how the answers that were scored were."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.router.artefact import same_fit
from services.router.harm import harms
from services.router.outcome_log import CLIENT, is_whole
from services.router.scored import InvalidOutcomes


@dataclass(slots=True)
class Decision:
    """One decision's scored answers by model; `group` names its prompt, `unfamiliar` is whether no promise covered it.

    `explored` is the probability with which it was drawn for the scores of every model, None where it was not;
    `sampled` that of a draw for the score of whoever answered and of the default, None where that is not known. `bound`
    is its caller's, and `contested` holds the predicted losses of models that another bound might have had answer; both
    are None where the log is older than these. `excluded` are models that its caller's wishes left out.
    """

    group: str
    unfamiliar: bool
    losses: dict[str, float | None] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    explored: float | None = None
    sampled: float | None = None
    bound: float | None = None
    contested: Mapping[str, float] | None = None
    excluded: Sequence[str] = ()

    def tells(self, models: Sequence[str]) -> bool:
        """Whether all of them were predicted and scored."""
        return all(self.losses.get(model) is not None and model in self.scores for model in models)

    def row(self, models: Sequence[str]) -> list[float]:
        """The models' losses, as a calibration has them: infinite where a model would not have been asked."""
        if self.unfamiliar:
            return [math.inf] * len(models)
        known = {**(self.contested or {}), **{model: loss or 0.0 for model, loss in self.losses.items()}}
        return [known.get(model, math.inf) for model in models]

    def harmed(self, model: str, default: str) -> bool:
        """Whether a model was worse than the default; what was not scored counts as if it had been so."""
        return model != default and harms(self.scores.get(model, 0.0), self.scores.get(default, 1.0))


def decisions(lines: Iterable[Mapping[str, Any]], version: str) -> Sequence[Decision]:
    """Those of this predictor's fit; a line that does not name its prompt tells nothing, and a first score counts.

    Nor does a client's word tell anything: who complains is no fair sample, and may say what it likes.
    """
    found: dict[str, Decision] = {}
    for line in lines:
        if not line["group"] or line.get("source") == CLIENT or not same_fit(line["version"], version):
            continue
        decision = found.setdefault(line["decision_id"], Decision(line["group"], line["unfamiliar"]))
        decision.bound, decision.contested, decision.excluded = line["bound"], line["contested"], line["excluded"]
        if line["explored"]:
            decision.explored = line["sampled"]
        elif line["sampled"]:
            decision.sampled = line["sampled"]
        model = line["planned"]["model"]
        if model not in decision.scores:
            decision.losses[model], decision.scores[model] = line["planned"]["loss"], line["score"]
    return tuple(found.values())


def logged(path: Path, remark: Callable[[str], None]) -> Iterable[Mapping[str, Any]]:
    """The lines of an outcome log, of the file before it was last rotated too; the torn end of either is remarked on.

    Raises:
        InvalidOutcomes: names file, line and field of the first mistake.
    """
    older = path.with_name(path.name + ".1")
    for file in (older, path) if older.exists() else (path,):
        try:
            before, end, last = file.read_bytes().rpartition(b"\n")
            whole = not last or is_whole(last)
            lines = (before + end + last if whole else before).decode().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidOutcomes(f"{file}: cannot be read: {error}") from error
        for place, line in enumerate(lines, 1):
            yield checked(f"{file}, line {place}", line)
        if not whole:
            remark(f"{file}: its last line was cut off after {len(last)} bytes and is left out")


def checked(where: str, line: str) -> Mapping[str, Any]:
    """One line of a log; InvalidOutcomes says what is wrong with it, and `where`."""
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
        if not _share(value):
            raise InvalidOutcomes(f"{where}: {name}: got {value!r}, expected a number from 0 to 1")
    sampled = found.get("sampled")
    if sampled is not None and (not isinstance(sampled, int | float) or not 0 < sampled <= 1):
        raise InvalidOutcomes(f"{where}: sampled: got {sampled!r}, expected a probability above 0")
    truth = (bool, "true or false")
    for name, kind, told in (("group", str, "a text"), ("unfamiliar", *truth), ("explored", *truth)):
        if name in found and not isinstance(found[name], kind):
            raise InvalidOutcomes(f"{where}: {name}: got {found[name]!r}, expected {told}")
    contested = found.get("contested") or {}
    if not isinstance(contested, dict) or not all(_share(loss) for loss in contested.values()):
        raise InvalidOutcomes(f"{where}: contested: got {contested!r}, expected numbers from 0 to 1 by model")
    if not _share(found.get("bound") or 0.0):
        raise InvalidOutcomes(f"{where}: bound: got {found['bound']!r}, expected a number from 0 to 1")
    excluded = found.get("excluded", [])
    if not isinstance(excluded, list) or not all(isinstance(model, str) for model in excluded):
        raise InvalidOutcomes(f"{where}: excluded: got {excluded!r}, expected models' names")
    unset = {"group": "", "unfamiliar": False, "explored": False, "sampled": None, "bound": None, "contested": None}
    unset |= {"excluded": []}
    return {**unset, **found, "planned": {"loss": None, **planned}}


def _share(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1
