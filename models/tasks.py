"""Questions with exactly checkable answers: what the reference models learn and what the demo asks them."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from models import facts, phrasings

Part = Literal["train", "heldout", "all"]


@dataclass(frozen=True)
class Question:
    """A prompt and its one right answer; equal `task` and `key` make two questions paraphrases of one another."""

    prompt: str
    answer: str
    task: str
    key: str


@dataclass(frozen=True)
class Instance:
    """The words that fill a phrasing's placeholders, and the answer; `irregular` ones follow from no other instance."""

    fields: Mapping[str, str]
    answer: str
    irregular: bool = False


@dataclass(frozen=True)
class Task:
    """`instances` maps key to operands; where `generalises`, a fifth of the keys is kept out of training."""

    name: str
    train_phrasings: Sequence[str]
    heldout_phrasings: Sequence[str]
    instances: Callable[[], Mapping[str, Instance]]
    generalises: bool

    def phrasings(self, part: Part) -> Sequence[str]:
        """The wordings of one part."""
        chosen = {"train": self.train_phrasings, "heldout": self.heldout_phrasings}
        return chosen.get(part, (*self.train_phrasings, *self.heldout_phrasings))

    def keys(self, part: Part) -> Sequence[str]:
        """The operands of one part; a task of memorised facts has the same ones in every part."""
        return _keys(self, part)


@cache
def _keys(task: Task, part: Part) -> Sequence[str]:
    if part == "all" or not task.generalises:
        return list(task.instances())
    return [key for key, instance in task.instances().items() if _kept_back(key, instance) == (part == "heldout")]


def _kept_back(key: str, instance: Instance) -> bool:
    return zlib.crc32(key.encode()) % 5 == 0 and not instance.irregular


@cache
def _opposites() -> Mapping[str, Instance]:
    pairs = facts.table(facts.OPPOSITES)
    both_ways = {**{value: key for key, value in pairs.items()}, **pairs}
    return {word: Instance({"w": word}, other) for word, other in both_ways.items()}


def _conversions(units: Sequence[tuple[str, str, str, str, int]], amounts: Sequence[int]) -> Mapping[str, Instance]:
    instances = {}
    for source, target, short_source, short_target, factor in units:
        for n in amounts:
            fields = {"n": str(n), "a": source, "b": target, "sa": short_source, "sb": short_target}
            instances[f"{n} {source} to {target}"] = Instance(fields, str(n * factor))
    return instances


@cache
def _metric() -> Mapping[str, Instance]:
    return _conversions(facts.METRIC, range(2, 61))


@cache
def _duration() -> Mapping[str, Instance]:
    return _conversions(facts.DURATION, range(2, 21))


@cache
def _capitals() -> Mapping[str, Instance]:
    return {country: Instance({"c": country}, city) for country, city in facts.table(facts.CAPITALS).items()}


@cache
def _continents() -> Mapping[str, Instance]:
    continents = facts.table(facts.CONTINENTS).items()
    located = ((country, continent) for continent, countries in continents for country in countries.split())
    return {country: Instance({"c": country}, continent) for country, continent in located}


@cache
def _past_tenses() -> Mapping[str, Instance]:
    return {verb: Instance({"w": verb}, past) for verb, past in facts.table(facts.PAST_TENSES).items()}


@cache
def _elements() -> Mapping[str, Instance]:
    return {element: Instance({"e": element}, symbol) for element, symbol in facts.table(facts.ELEMENTS).items()}


@cache
def _romans() -> Mapping[str, Instance]:
    return {str(n): Instance({"n": str(n)}, _roman(n)) for n in range(1, 151)}


def _roman(n: int) -> str:
    numeral = ""
    signs = {100: "C", 90: "XC", 50: "L", 40: "XL", 10: "X", 9: "IX", 5: "V", 4: "IV", 1: "I"}
    for value, sign in signs.items():
        numeral, n = numeral + sign * (n // value), n % value
    return numeral


@cache
def _next_dates() -> Mapping[str, Instance]:
    """Every day but 28 February, whose successor depends on the year."""
    days = [(day, month) for month, length in facts.MONTHS for day in range(1, length + 1)]
    following = zip(days, days[1:] + days[:1], strict=True)
    return {
        f"{day} {month}": Instance({"d": str(day), "m": month}, f"{next_day} {next_month}", irregular=next_day == 1)
        for (day, month), (next_day, next_month) in following
        if (day, month) != (28, "February")
    }


@cache
def _times() -> Mapping[str, Instance]:
    pairs = ((x, y) for x in range(2, 13) for y in range(2, 13))
    return {f"{x} x {y}": Instance({"x": str(x), "y": str(y)}, str(x * y)) for x, y in pairs}


TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        Task("metric", phrasings.CONVERT, phrasings.CONVERT_HELDOUT, _metric, generalises=True),
        Task("next_date", phrasings.NEXT_DATE, phrasings.NEXT_DATE_HELDOUT, _next_dates, generalises=True),
        Task("roman", phrasings.ROMAN, phrasings.ROMAN_HELDOUT, _romans, generalises=False),
        Task("opposite", phrasings.OPPOSITE, phrasings.OPPOSITE_HELDOUT, _opposites, generalises=False),
        Task("duration", phrasings.CONVERT, phrasings.CONVERT_HELDOUT, _duration, generalises=False),
        Task("times", phrasings.TIMES, phrasings.TIMES_HELDOUT, _times, generalises=False),
        Task("past_tense", phrasings.PAST_TENSE, phrasings.PAST_TENSE_HELDOUT, _past_tenses, generalises=False),
        Task("continent", phrasings.CONTINENT, phrasings.CONTINENT_HELDOUT, _continents, generalises=False),
        Task("capital", phrasings.CAPITAL, phrasings.CAPITAL_HELDOUT, _capitals, generalises=False),
        Task("element", phrasings.ELEMENT, phrasings.ELEMENT_HELDOUT, _elements, generalises=False),
    )
}


def _say(task: Task, key: str, phrasing: str) -> Question:
    instance = task.instances()[key]
    prompt = phrasing.format(**instance.fields)
    return Question(prompt[0].upper() + prompt[1:], instance.answer, task.name, key)


def _typed(rng: random.Random, prompt: str) -> str:
    """The same prompt as another hand would type it: lower case, no full stop, a polite opening."""
    style = rng.random()
    if style < 0.1:
        return prompt.lower()
    if style < 0.2:
        return prompt.rstrip("?.")
    if style < 0.32 and not prompt.startswith(("Please", "Could", "Can", "Do")):
        return rng.choice(("Please: ", "Hi, ", "Hey, ", "So, ", "Tell me: ", "Ok, ", "Quick question: ")) + prompt
    return prompt


def sample(
    rng: random.Random,
    *,
    phrasings: Part = "all",
    operands: Part = "all",
    task: str | None = None,
) -> Question:
    """One question, of a uniformly drawn task unless one is named."""
    chosen = TASKS[task or rng.choice(list(TASKS))]
    question = _say(chosen, rng.choice(chosen.keys(operands)), rng.choice(chosen.phrasings(phrasings)))
    return Question(_typed(rng, question.prompt), question.answer, question.task, question.key)


def paraphrases(question: Question, *, phrasings: Part = "all") -> list[Question]:
    """The same question in its task's other wordings, in table order."""
    task = TASKS[question.task]
    asked = (_say(task, question.key, phrasing) for phrasing in task.phrasings(phrasings))
    return [other for other in asked if other.prompt != question.prompt]
