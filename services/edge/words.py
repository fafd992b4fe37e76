"""Says how answers are written, and which words and signs are in them: what judges compare without asking a model."""

import re
from collections import Counter
from collections.abc import Iterable
from textwrap import dedent

_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_LETTERS = re.compile(r"[^\W\d_]+")
# Signs that change what is said: of amounts and comparisons, before and between operands, behind a word ("C++", "A-").
_SIGN = re.compile(
    r"[$€£¥%<>=≤≥≠^&|~\\]|!(?=[\w=(])|(?<![^\W\d_]{2})[-−+*/×÷](?=\s*\.?\d)|(?<=\w)(?:\+\+?|#|-)(?![\w-])"
    r"|(?<=\w)[/*]+(?=\w)|[′″]"
)
# All that is neither a word nor a sentence's punctuation; options, and factorials.
_BESIDE_WORDS = re.compile(r"[^\w\s.,;:!?'’\"“”()\-–—]|_|(?<!\S)--?[^\W\d_][\w-]*|(?<![^\W\d_]{2})!")
_CONTRACTED = re.compile(r"\b(ca)n't\b|\b(can)not\b|\b(wo|sha)n't\b|n't\b")
_WHOLE = {"ca": "can not", "can": "can not", "wo": "will not", "sha": "shall not"}
_NEGATIONS = frozenset({"no", "not", "never", "none", "without"})
_NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
NUMBER_WORDS = {word: str(value) for value, word in enumerate(_NUMBERS.split())}
_AMOUNTS = frozenset({"thirty", "forty", "fifty", "hundred", "thousand", "once", "twice", "half", "double"})
_FILLERS = frozenset({"a", "an", "the", "please", "kindly", "also"})
_SMALL = frozenset({"an", "as", "at", "by", "he", "if", "in", "is", "it", "my", "no", "of", "on", "or", "to", "we"})
_LONG = 30  # words; the similarities were chosen on shorter texts, and among more words one hardly moves a vector

_BOLD = re.compile(r"(?<![\w*])\*\*(?=[^\s*/])([^*]*\S)\*\*(?![\w*])")
_BULLET = re.compile(r"^(\s*)[-*•]\s+(?=.*[^\W\d_]{2})")  # before words: "- 5" may be a number
_NUMBERED = re.compile(r"^(\s*\d+)[.)]\s+(?=\S)")
_STOP = re.compile(r"(?<=[\w)\"”%`])[.。]$")
_PLAIN = re.compile(r"(?:[\w\s.,!?%-]|(?<=\w)['’](?=\w))*")
_FIRST = re.compile(r"^(\s*(?:- |\d+\. )?)([^\W\d_]+)(?=(?:'[a-z]+)?,?(?:\s|$))")


def written(text: str) -> str:
    """A text without what never changes what it says; two of one writing say the same.

    Of each line that is: bold, which of `-`, `*`, `•` or of `1.`, `1)` marks an item, the last full stop, blanks at
    the end. Blank lines count for nothing, nor does how far all lines are indented. Of lines of words alone (letters,
    numbers, apostrophes and `.,-!?%`) it is also how many blanks stand between words, contracted negations, numbers
    in words, and a capital that begins the line ("Paris", "No"; not "Co", "MW" or "Node.next"). All else counts:
    letter case, line ends, indents, quotes, brackets, colons, emoji.
    """
    return "\n".join(_written(line) for line in dedent(text).splitlines() if line.strip())


def words(text: str) -> list[str]:
    """Words and numbers in order, without letter case; negations apart ("can't", "cannot": can, not)."""
    return _WORD.findall(_apart(text.casefold().replace("’", "'")))


def signs(text: str) -> list[str]:
    """Signs, in order, that make another statement of the same words."""
    return _SIGN.findall(text)


def telling(listed: Iterable[str]) -> Counter[str]:
    """Numbers and negations among words."""
    return Counter(word for word in listed if _NUMBER.fullmatch(word) or word in _NEGATIONS)


def count(listed: Iterable[str]) -> bool:
    """Whether one of the words is a number."""
    return any(_NUMBER.fullmatch(word) or word in _AMOUNTS for word in listed)


def read_over(one: str, other: str) -> bool:
    """Whether two texts differ in what an encoder reads over: anything but their words, the case of one, or, among
    many, a word or its place.
    """
    one, other = written(one), written(other)
    if one == other:
        return False
    first, second = words(one), words(other)
    if first == second or signs(one) != signs(other) or _BESIDE_WORDS.findall(one) != _BESIDE_WORDS.findall(other):
        return True
    spelt, otherwise = _spelt(one), _spelt(other)
    if any(spelt[word] != otherwise[word] for word in spelt.keys() & otherwise.keys()):
        return True
    first, second = ([word for word in listed if word not in _FILLERS] for listed in (first, second))
    return max(len(first), len(second)) > _LONG and first != second


def _written(line: str) -> str:
    bare = _BULLET.sub(r"\1- ", _BOLD.sub(r"\1", line.rstrip()))
    bare = _STOP.sub("", _NUMBERED.sub(r"\1. ", bare))
    if not _PLAIN.fullmatch(bare):
        return bare
    indent = bare[: len(bare) - len(bare.lstrip())]
    plain = _FIRST.sub(_uncapital, indent + " ".join(bare.replace("’", "'").split()), count=1)
    return _LETTERS.sub(lambda found: NUMBER_WORDS.get(found[0], found[0]), _apart(plain))


def _uncapital(found: re.Match[str]) -> str:
    """The first word of a line in small letters, where its case is that of any first word."""
    mark, word = found.groups()
    return mark + (word.lower() if _ordinary(word) else word)


def _ordinary(word: str) -> bool:
    """Whether a capital at its beginning says nothing: short ones may be units, elements or variables."""
    return word[1:].islower() and (len(word) > 2 or word.lower() in _SMALL)


def _apart(text: str) -> str:
    return _CONTRACTED.sub(lambda found: _WHOLE.get(found[found.lastindex or 0], " not"), text)


def _spelt(text: str) -> dict[str, set[str]]:
    """The spellings of each word by its small letters, where its capitals may tell something."""
    found: dict[str, set[str]] = {}
    for word in _LETTERS.findall(text):
        if word.lower() not in _FILLERS:
            found.setdefault(word.casefold(), set()).add(word.lower() if _ordinary(word) else word)
    return found
