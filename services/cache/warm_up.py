"""Makes lessons for a scope's scorer of texts whose answers are known, as if they had been asked one after another."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.cache.evidence import NAMES, Record, favoured, weigh
from services.cache.sketch import sketch
from services.cache.vetoes import veto
from services.chassis.errors import InvalidField

_LEAST_LESSONS = 50


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
    """Features `[lessons, features]` of the answers that the neighbours spoke for, and which were right `[lessons]`."""

    rows: NDArray[np.float64]
    right: NDArray[np.float64]

    def check(self) -> None:
        """Raises InvalidField where there are too few to learn from, or all of one kind."""
        right, labels = int(self.right.sum()), len(self.right)
        if labels < _LEAST_LESSONS or right in (0, labels):
            told = f"{labels} labels, {right} of them right"
            raise InvalidField("examples", told, f"at least {_LEAST_LESSONS} labels, right ones and wrong ones")


def lessons(examples: Sequence[Example]) -> Lessons:
    """A lesson of each example for whose likeliest answer it is known whether it is right."""
    records: dict[int, Record] = {}
    rows: list[tuple[float, ...]] = []
    right: list[bool] = []
    for entries, example in enumerate(examples):
        if example.nearest:
            row, same, answer = _lesson(examples, example, records, entries)
            if same is not None:
                rows.append(row)
                right.append(same)
                record = records.setdefault(answer, Record())
                record.right += same
                record.wrong += not same
        records.setdefault(example.answer, Record()).entries += 1
    return Lessons(np.array(rows, float).reshape(-1, len(NAMES)), np.array(right, float))


def _lesson(
    examples: Sequence[Example], example: Example, records: dict[int, Record], entries: int
) -> tuple[tuple[float, ...], bool | None, int]:
    """Features, whether the answer is right, and which answer it is."""
    similarities = [near.similarity for near in example.nearest]
    answers = [examples[near.place].answer for near in example.nearest]
    votes = favoured(similarities, answers)
    chosen, answer = example.nearest[votes.place], answers[votes.place]
    against = veto(sketch(example.text), sketch(examples[chosen.place].text))
    record = records.get(answer) or Record()
    return weigh(similarities, answers, votes, record, entries, against is not None), chosen.same, answer
