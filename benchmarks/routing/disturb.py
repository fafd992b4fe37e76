"""The same question asked otherwise: what must not change where it goes."""

import random
from collections.abc import Callable, Mapping

_TYPOS = 0.02  # share of words, at least one


def typos(text: str) -> str:
    """Two neighbouring letters swapped inside one word in fifty, of those longer than three letters."""
    chance, words = random.Random(text), text.split(" ")
    long = [place for place, word in enumerate(words) if len(word) > 3 and word.isalpha()]
    for place in chance.sample(long, min(len(long), max(1, int(len(words) * _TYPOS)))):
        word, at = words[place], chance.randrange(1, len(words[place]) - 2)
        words[place] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return " ".join(words)


def white_space(text: str) -> str:
    """Blank lines around and doubled blanks between."""
    return "\n\n" + text.replace(" ", "  ") + "  \n"


def politeness(text: str) -> str:
    """A greeting and a please before, thanks after."""
    return f"Hello! Could you please help me with this? {text}\nThank you very much!"


DISTURBANCES: Mapping[str, Callable[[str], str]] = {
    "typos": typos,
    "upper case": str.upper,
    "lower case": str.lower,
    "white space": white_space,
    "politeness": politeness,
}
