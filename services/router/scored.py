"""Scored prompts, as read from outcome files: what a router is fitted, calibrated and evaluated on.

A file is JSON lines, gzipped where its name ends in .gz: `prompt` (text), `scores` (model: 0 to 1) and optionally
`domain`, `group` (the same for prompts that ask the same), and what tells how sure a model was of its answer:
`mean_logprobs` (model: mean log-probability of the answer's tokens) and `agreements` (model: share of three repeats
that agree with it). What cannot be used is refused with file and line; what can, with a remark.
"""

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.router.risk import REPEATS
from services.router.spelled import mended

_SURE = {"mean_logprobs": (-1e6, 0, "a number of at most 0"), "agreements": (0, 1, f"a share of {REPEATS} repeats")}
_ROUNDING = 0.02  # of a repeat
_Told = Sequence[Mapping[str, float]]  # a row's scores, mean log-probabilities and agreements, by model


class InvalidOutcomes(ValueError):
    """Outcomes that nothing can be fitted from; the text names file, line, field and expectation."""


@dataclass(frozen=True)
class Scored:
    """n prompts with m models' scores.

    Args:
        prompts: n texts, each once.
        domains: n labels, empty where unknown.
        models: m names.
        scores: float64 [n, m] from 0 to 1; not a number where a model was not asked.
        mean_logprobs: of the tokens of each answer, float64 [n, m], at most 0; not a number where unknown.
        agreements: share of repeats that agree with each answer, float64 [n, m]; not a number where unknown.
        groups: n labels, equal where prompts ask the same.
        remarks: what was made of the file, a sentence each.
    """

    prompts: Sequence[str]
    domains: Sequence[str]
    models: Sequence[str]
    scores: NDArray[np.float64]
    mean_logprobs: NDArray[np.float64]
    agreements: NDArray[np.float64]
    groups: Sequence[str]
    remarks: Sequence[str] = field(default=())

    def __len__(self) -> int:
        return len(self.prompts)

    def of(self, model: str) -> NDArray[np.float64]:
        """One model's scores, [n]."""
        if model not in self.models:
            raise InvalidOutcomes(f"model: got {model!r}, expected one of {', '.join(self.models)}")
        return self.scores[:, list(self.models).index(model)]

    def only(self, models: Sequence[str]) -> "Scored":
        """These models alone, in this order."""
        scores = np.stack([self.of(model) for model in models], axis=1)
        places = [list(self.models).index(model) for model in models]
        sure = self.mean_logprobs[:, places], self.agreements[:, places]
        return replace(self, models=tuple(models), scores=scores, mean_logprobs=sure[0], agreements=sure[1])

    def at(self, rows: NDArray[np.intp]) -> "Scored":
        """Some prompts, by place."""
        prompts = [self.prompts[row] for row in rows]
        domains, groups = ([labels[row] for row in rows] for labels in (self.domains, self.groups))
        scores, certainty, agreements = self.scores[rows], self.mean_logprobs[rows], self.agreements[rows]
        return Scored(prompts, domains, self.models, scores, certainty, agreements, groups, self.remarks)


def read_scored(paths: Iterable[Path]) -> Scored:
    """The prompts of these files together; of a prompt that comes again one row counts, drawn by chance.

    The mean of several would not do: who is right in 55 % of its answers, as mean scores have it, is right in all.

    Raises:
        InvalidOutcomes: names file, line and field of the first mistake.
    """
    found: dict[str, list[_Told]] = {}
    domains: dict[str, str] = {}
    groups: dict[str, str] = {}
    spelled = 0
    for path in paths:
        for place, row in _objects(path):
            written, told = _checked(f"{path}, line {place}", row)
            prompt = mended(written)
            spelled += prompt != written
            found.setdefault(prompt, []).append(told)
            domains.setdefault(prompt, _label(row, "domain", ""))
            groups.setdefault(prompt, _label(row, "group", prompt))
    if not found:
        raise InvalidOutcomes("outcomes: got no rows, expected at least one")
    models = sorted({model for rows in found.values() for scores, *_ in rows for model in scores})
    chance = np.random.default_rng(0)
    drawn = [_drawn(rows, chance) for rows in found.values()]
    matrix, mean_logprobs, agreements = (_matrix([one[place] for one in drawn], models) for place in range(3))
    return Scored(
        tuple(found),
        tuple(domains.values()),
        tuple(models),
        matrix,
        mean_logprobs,
        agreements,
        tuple(groups.values()),
        _remarks(found, matrix, spelled),
    )


def _drawn(rows: Sequence[_Told], chance: np.random.Generator) -> _Told:
    """One of a prompt's rows, of those with the most models; rows that share no model are one."""
    merged: list[Sequence[dict[str, float]]] = []
    places: dict[str, int] = {}  # where the next score of a model belongs
    for row in rows:
        place = max(places.get(model, 0) for model in row[0])
        places.update(dict.fromkeys(row[0], place + 1))
        if place == len(merged):
            merged.append(({}, {}, {}))
        for known, told in zip(merged[place], row, strict=True):
            known.update(told)
    most = max(len(scores) for scores, *_ in merged)
    fullest = [one for one in merged if len(one[0]) == most]
    return fullest[chance.integers(len(fullest))] if len(fullest) > 1 else fullest[0]


def _matrix(rows: Sequence[Mapping[str, float]], models: Sequence[str]) -> NDArray[np.float64]:
    """What each prompt's row says of each model, [n, m]; not a number where it says nothing."""
    return np.array([[row.get(model, np.nan) for model in models] for row in rows], np.float64)


def _objects(path: Path) -> Iterable[tuple[int, Any]]:
    """Each line's number and what it holds; blank ones are passed over."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig") as lines:
            for place, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    yield place, json.loads(line)
                except json.JSONDecodeError as error:
                    raise InvalidOutcomes(f"{path}, line {place}: is not JSON: {error.msg}") from error
    except (OSError, UnicodeDecodeError, EOFError) as error:
        why = getattr(error, "strerror", None) or error
        raise InvalidOutcomes(f"{path}: cannot be read: {why}") from error


def _checked(where: str, row: Any) -> tuple[str, _Told]:
    """The prompt, and what is told of it."""
    if not isinstance(row, dict) or not isinstance(row.get("prompt"), str) or not row["prompt"].strip():
        raise InvalidOutcomes(f"{where}: prompt: expected a text that is not empty")
    if any("\ud800" <= letter <= "\udfff" for letter in row["prompt"]):
        raise InvalidOutcomes(f"{where}: prompt: got half a surrogate pair, expected text")
    scores = row.get("scores")
    if not isinstance(scores, dict) or not scores:
        raise InvalidOutcomes(f"{where}: scores: got {scores!r}, expected a score for at least one model")
    for model, score in scores.items():
        number = isinstance(score, int | float)
        if not number or not 0 <= score <= 1:
            raise InvalidOutcomes(f"{where}: scores of {model}: got {score!r}, expected a number from 0 to 1")
    return row["prompt"], (scores, *(_sure(where, row, name, scores) for name in _SURE))


def _sure(where: str, row: Mapping[str, Any], name: str, scores: Mapping[str, float]) -> Mapping[str, float]:
    """What one signal tells of how sure models were."""
    found, (least, most, expected) = row.get(name, {}), _SURE[name]
    if not isinstance(found, dict) or not set(found) <= set(scores):
        raise InvalidOutcomes(f"{where}: {name}: got {found!r}, expected numbers for models that have scores")
    for model, sure in found.items():
        number = isinstance(sure, int | float) and least <= sure <= most
        if not number or (name == "agreements" and abs(sure * REPEATS - round(sure * REPEATS)) > _ROUNDING):
            raise InvalidOutcomes(f"{where}: {name} of {model}: got {sure!r}, expected {expected}")
    return found


def _label(row: Mapping[str, Any], name: str, unset: str) -> str:
    """A label as text; one that is null or empty is not set."""
    return unset if row.get(name) in (None, "") else str(row[name])


def _remarks(found: Mapping[str, Sequence[object]], matrix: NDArray[np.float64], spelled: int) -> Sequence[str]:
    again = sum(len(rows) - 1 for rows in found.values())
    missing = float(np.isnan(matrix).mean())
    remarks = [f"{again} rows repeat a prompt: one row of each counts, drawn by chance"] if again else []
    if spelled:
        remarks.append(f"{spelled} prompts spell their options one letter a line: they were put together again")
    if missing:
        remarks.append(f"{missing:.1%} of the scores are missing: each model learns from its own")
    return remarks
