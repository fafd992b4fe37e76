"""Says why two prompts must not share an answer, however similar their embeddings are."""

from enum import Enum

from services.cache.sketch import Sketch


class Veto(Enum):
    """What differs between two prompts, worded for a person."""

    NUMBERS = "its numbers differ"
    NEGATION = "its negations differ"
    QUESTION = "it asks something else"
    NAMES = "its names differ"
    PERSON = "it is asked for other people"
    WORDS = "its telling words differ"
    ORDER = "its words stand in another order"
    SPELLING = "its letter case differs"
    TEXT = "the text it holds differs"


def veto(query: Sketch, entry: Sketch) -> Veto | None:
    """The first thing that differs, or None where nothing that could change the answer does."""
    if query.verbatim != entry.verbatim:
        return Veto.TEXT
    same = query.words == entry.words
    if not same and query.numbers != entry.numbers:
        return Veto.NUMBERS
    if not same and query.negations != entry.negations:
        return Veto.NEGATION
    if query.question != entry.question:
        return Veto.QUESTION
    if same and query.spelling != entry.spelling:
        return Veto.SPELLING
    if same and (_differ(query.doers, entry.doers) or _differ(query.holding, entry.holding)):
        return Veto.QUESTION
    if same:
        return Veto.PERSON if _differ(query.speaker, entry.speaker) else None
    if sorted(query.words) == sorted(entry.words):
        return Veto.ORDER
    named = (set(query.words) ^ set(entry.words)) & (query.names | entry.names)
    return Veto.NAMES if named else Veto.WORDS


def _differ(one: str, other: str) -> bool:
    """Whether both prompts say something, and not the same."""
    return bool(one and other) and one != other
