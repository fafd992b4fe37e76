"""Weighs the nearest entries of a prompt: which answer they speak for, and how clearly."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

NAMES = (
    "one", "similarity", "similarity squared", "margin", "votes", "flat votes", "similarity x votes", "neighbours",
    "mean similarity", "entries of the answer", "record", "judged", "entries", "vetoed",
)  # fmt: skip
_SHARP = 25.0  # votes fall by e for each 0.04 of similarity
_FLAT = 8.0
_FLOOR = 1e-4  # of a share, so that its logit is finite


@dataclass(slots=True)
class Record:
    """How often an answer was judged right and wrong for the prompts that it was a candidate for, and its entries."""

    right: float = 0.0
    wrong: float = 0.0
    entries: int = 0


class Votes(NamedTuple):
    """The answer that the neighbours speak for.

    Args:
        place: of the nearest neighbour with that answer.
        sharp: its share of votes that fall by e for each 0.04 of similarity.
        flat: its share of votes that fall by e for each 0.125.
    """

    place: int
    sharp: float
    flat: float


def favoured(similarities: Sequence[float], answers: Sequence[int], place: int | None = None) -> Votes:
    """What neighbours, nearest first and each with its answer, vote for; or the votes for the answer at `place`."""
    if answers.count(answers[0]) == len(answers):
        return Votes(place or 0, 1.0, 1.0)
    first, exp = similarities[0], math.exp
    sharp, flat = dict.fromkeys(answers, 0.0), dict.fromkeys(answers, 0.0)
    for answer, similarity in zip(answers, similarities, strict=True):
        difference = similarity - first
        sharp[answer] += exp(_SHARP * difference)
        flat[answer] += exp(_FLAT * difference)
    chosen = max(sharp, key=sharp.__getitem__) if place is None else answers[place]
    nearest = answers.index(chosen) if place is None else place
    return Votes(nearest, sharp[chosen] / sum(sharp.values()), flat[chosen] / sum(flat.values()))


def weigh(
    similarities: Sequence[float], answers: Sequence[int], votes: Votes, record: Record, entries: int, vetoed: bool
) -> tuple[float, ...]:
    """The features of the answer that the votes favour, each of order 1, named by NAMES.

    The record is that answer's, the entries are the scope's, and a veto speaks against its nearest one or does not.
    """
    place, sharp, flat = votes
    answer, nearest = answers[place], similarities[place]
    same = [s for s, other in zip(similarities, answers, strict=True) if other == answer]
    others = (s for s, other in zip(similarities, answers, strict=True) if other != answer)
    rival = similarities[-1] - 0.02 if len(same) == len(answers) else next(others)
    judged, above = record.right + record.wrong, 4 * (nearest - 0.75)
    return (
        1.0,
        above,
        above**2,
        8 * (nearest - rival),
        _logit(sharp) / 4,
        _logit(flat) / 4,
        above * sharp,
        math.log(len(same)),
        4 * (sum(same) / len(same) - 0.7),
        math.log1p(record.entries) / 3,
        _logit((record.right + 1.8) / (judged + 2)) / 3,
        math.log1p(judged) / 3,
        math.log1p(entries) / 8,
        float(vetoed),
    )


def _logit(share: float) -> float:
    if share < _FLOOR:
        share = _FLOOR
    elif share > 1 - _FLOOR:
        share = 1 - _FLOOR
    return math.log(share / (1 - share))
