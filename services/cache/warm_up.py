"""Makes lessons for a scope's scorer of texts whose answers are known, as if they had been asked one after another."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.cache.evidence import NAMES, Record, favoured, weigh
from services.cache.pair_verifier import Compared, PairVerifier, trained
from services.cache.sketch import Sketch, sketch
from services.cache.vetoes import veto
from services.chassis.errors import InvalidField

_LEAST_LESSONS = 50
_COMPARED = 8  # neighbours of a text, the nearest: what is further away teaches nothing of what may be served


@dataclass(frozen=True, slots=True)
class Nearby:
    """An earlier example near a text; `same` tells whether its answer is right for the text, None where unknown."""

    place: int
    similarity: float
    same: bool | None


@dataclass(frozen=True, slots=True)
class Example:
    """A text, its answer's number, and the earlier examples that are nearest to it, most similar first."""

    text: str
    answer: int
    nearest: tuple[Nearby, ...]


@dataclass(frozen=True, slots=True)
class Lessons:
    """What examples teach.

    Args:
        rows: features of the answers that the neighbours spoke for, shape [lessons, features].
        right: which of these were right, shape [lessons].
        pairs: of a text and a neighbour, of which it is known whether they share an answer.
        verifier: trained on these; None where they were too few.
    """

    rows: NDArray[np.float64]
    right: NDArray[np.float64]
    pairs: int = 0
    verifier: PairVerifier | None = None

    def check(self) -> None:
        """Raises InvalidField where there are too few to learn from, or all of one kind."""
        right, labels = int(self.right.sum()), len(self.right)
        if labels < _LEAST_LESSONS or right in (0, labels):
            told = f"{labels} labels, {right} of them right"
            raise InvalidField("examples", told, f"at least {_LEAST_LESSONS} labels, right ones and wrong ones")


def lessons(examples: Sequence[Example]) -> Lessons:
    """A lesson of each example for whose likeliest answer it is known whether it is right."""
    sketches = [sketch(example.text) for example in examples]
    records: dict[int, Record] = {}
    rows: list[tuple[float, ...]] = []
    right: list[bool] = []
    for entries, example in enumerate(examples):
        if example.nearest:
            row, same, answer = _lesson(examples, sketches, entries, records)
            if same is not None:
                rows.append(row)
                right.append(same)
                record = records.setdefault(answer, Record())
                record.right += same
                record.wrong += not same
        records.setdefault(example.answer, Record()).entries += 1
    pairs, alike = _pairs(examples, sketches)
    verifier = trained(pairs, alike)
    return Lessons(np.array(rows, float).reshape(-1, len(NAMES)), np.array(right, float), len(pairs), verifier)


def _lesson(
    examples: Sequence[Example], sketches: Sequence[Sketch], place: int, records: dict[int, Record]
) -> tuple[tuple[float, ...], bool | None, int]:
    """Features, whether the answer is right, and which answer it is."""
    nearest = examples[place].nearest
    similarities = [near.similarity for near in nearest]
    answers = [examples[near.place].answer for near in nearest]
    votes = favoured(similarities, answers)
    chosen, answer = nearest[votes.place], answers[votes.place]
    against = veto(sketches[place], sketches[chosen.place])
    record = records.get(answer) or Record()
    return weigh(similarities, answers, votes, record, place, against is not None), chosen.same, answer


def _pairs(examples: Sequence[Example], sketches: Sequence[Sketch]) -> tuple[list[Compared], list[bool]]:
    """Each text beside the nearest ones, and whether they share an answer, where that is known."""
    pairs: list[Compared] = []
    alike: list[bool] = []
    for asked, example in zip(sketches, examples, strict=True):
        for near in example.nearest[:_COMPARED]:
            if near.same is not None:
                entry = sketches[near.place]
                pairs.append(Compared(asked, entry, near.similarity, veto(asked, entry)))
                alike.append(near.same)
    return pairs, alike
