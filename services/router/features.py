"""What the predictor sees of a prompt beside its embedding: cheap facts about its words, blind to case and white space.

Casing, white space and courtesies say nothing of how hard a question is, so they are taken out before anything is
counted; what is left costs microseconds.
"""

import re
from collections.abc import Sequence
from math import log1p

import numpy as np
from numpy.typing import NDArray

FEATURE_VERSION = 4
_COUNTED = (
    "log_characters",  # log(1 + characters, white space collapsed) of the whole prompt
    "log_words",
    "log_numbers",
    "log_sentences",
    "log_stem",  # characters before the first option
    "log_options",
    "log_option_length",  # mean characters of an option
    "log_option_spread",  # longest less shortest
    "numeric_options",  # share of options with a digit
    "alike_options",  # most that one has in common with the next: words of both, as a share of the words of either
    "largest_number",  # its tenth root
    "word_length",  # mean letters a word
    "distinct_words",  # share of all words
    "long_words",  # share of words of ten letters and more
)
_MARKS = ("0123456789", "+-*/=<>^%|", "()[]{}", ".,;:!", "?", "\"'`", "_\\#$&@~")
_SHARES = ("digits", "operators", "brackets", "sentence_marks", "questions", "quotes", "code_marks", "not_ascii")
# fmt: off
_TOLD = (
    "what", "which", "who", "when", "where", "why", "how", "if", "not", "except", "following", "true", "false",
    "statement", "calculate", "find", "best", "most", "scenario", "according", "because", "would", "suppose",
    "let", "function", "def", "prove", "i", "you", "my", "write", "explain",
)
# fmt: on
LEXICAL_FEATURES = (*_COUNTED, *_SHARES, *(f"says_{word}" for word in _TOLD))
_TOLD_PLACES = {
    (word[0], word[-1], frozenset(word)): place for place, word in enumerate(_TOLD, len(_COUNTED + _SHARES))
}
_NOT_TOLD = [0.0] * (len(_TOLD) + 1)  # the last is the place of words that are not
_REMEMBERED = 8192  # words whose place is
_WINDOW = 4096  # characters from the prompt's beginning: the cost stays bounded whatever is sent
_COURTESY = re.compile(
    r"\b(?=[cdghikmptw])(?:hi|hello|hey|good (?:morning|evening|afternoon)|dear assistant|please|kindly"
    r"|(?:many )?thanks?(?: you)?(?: (?:very|so) much| a lot| in advance)?(?: for (?:your|any|the) help)?"
    r"|(?:could|can|would|will) you(?: be so kind as to)?|i(?: would|'d) appreciate (?:it|your help|any help)"
    r"|if you don't mind)\b[ ,.!]*"
)
_COURTEOUS = (  # one of these, or a word that ends in "hi", is in every courtesy: faster to look for
    "please", "thank", "ld you", "can you", "will you", "kindly", "hello", "hey", "good ", "dear assistant",
    "appreciate", "don't mind",
)  # fmt: skip
_HI = re.compile(r"hi\b")
# A sentence of nothing else, before what is asked, asks nothing.
_PREAMBLE = re.compile(
    r"^(?:(?:help|me|us|out|with|on|to|this|these|that|the|following|an?|one|quick|question|problem|task|exercise|answer"
    r"|solve|tell|know|i|i'm|we|have|had|got|need|want|some|your|my|for|there|and|let|stuck|wondering)\b[ ,]*)+[.!?:]+ "
)
_DIGIT = re.compile(r"\d")
_NUMBER = re.compile(r"\d\d*(?:\.\d+)?")  # faster to look for than \d+ is
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_OPTIONS = [(f" {letter}. ", f" {letter}) ", f"({letter}) ") for letter in _LETTERS]  # as long as one another
_DOTTED = [ways[:1] for ways in _OPTIONS]
_IN_WORDS = bytes(byte if chr(byte) in f"{_LETTERS}'" else ord(" ") for byte in range(256))
_IN_NUMBERS = bytes(byte if chr(byte) in "0123456789." else ord(" ") for byte in range(256))
_CLASS_OF_BYTE = bytes(
    next((place for place, members in enumerate(_MARKS) if chr(byte) in members), len(_MARKS)) for byte in range(256)
)
_UNMARKED = bytes(byte for byte in range(128) if chr(byte) not in "".join(_MARKS))


def normalised(text: str) -> str:
    """The text in small letters, white space collapsed, without courtesies; one of nothing else is left as it is."""
    small = " ".join(text.lower().split())
    courteous = any(map(small.__contains__, _COURTEOUS)) or _HI.search(small)
    return _PREAMBLE.sub("", _COURTESY.sub("", small) if courteous else small).strip() or small


def lexical(text: str) -> NDArray[np.float32]:
    """`LEXICAL_FEATURES` of a text, float32; but for its length, of its first 4,096 characters."""
    plain = normalised(text[: 2 * _WINDOW])[:_WINDOW]
    size = len(plain) if len(text) <= _WINDOW else len(text)
    data = plain.encode("utf-8", "replace")
    marks = data.translate(_CLASS_OF_BYTE, _UNMARKED)
    digits, *others = map(marks.count, range(len(_SHARES)))
    if not plain.isascii():
        numbers = _NUMBER.findall(plain)
    else:
        numbers = _NUMBER.findall(" ".join(data.translate(_IN_NUMBERS).decode().split())) if digits else []
    ends = plain.replace("!", ".").replace("?", ".")
    spelled = data.translate(_IN_WORDS)
    words = spelled.decode().split()
    distinct, amount, count = set(words), max(1, len(words)), max(1, len(data))
    found = [
        log1p(size),
        log1p(len(words)),
        log1p(len(numbers)),
        log1p(ends.count(". ") + ends.endswith(".")),
        *_option_facts(plain, bool(numbers)),
        max([float(one) if len(one) < 16 else 1e16 for one in numbers]) ** 0.1 if numbers else 0.0,
        (len(spelled) - spelled.count(b" ")) / amount,
        len(distinct) / amount,
        len([word for word in words if len(word) > 9]) / amount,
        digits / count,
        *[marked / count for marked in others],
        *_NOT_TOLD,
    ]
    for place in set(map(_place_of, distinct)):
        found[place] = 1.0
    return np.fromiter(found, np.float32, len(LEXICAL_FEATURES))


class _Places(dict[str, int]):
    """Where a told word stands; -1 for others. A slip within a word leaves its ends and letters, and so the same."""

    def __missing__(self, word: str) -> int:
        if len(self) >= _REMEMBERED:
            self.clear()
        self[word] = place = _TOLD_PLACES.get((word[0], word[-1], frozenset(word)), -1)
        return place


_place_of = _Places().__getitem__


def _option_facts(plain: str, numeric: bool) -> Sequence[float]:
    """Of options that follow one another from ` a. `, ` a) ` or `(a) ` on: `log_stem` to `alike_options`."""
    starts: list[int] = []
    after = 0
    for ways in _OPTIONS if ") " in plain else _DOTTED:
        end = len(plain)
        for way in ways:
            if (place := plain.find(way, after, end)) >= 0:
                end = place + len(way) - 1  # what is found now begins before
        if end == len(plain):
            break
        after = end
        starts.append(end + 1 - len(ways[0]))
    if len(starts) < 2:
        return log1p(len(plain)), 0.0, 0.0, 0.0, 0.0, 0.0
    options = [plain[start + 4 : end] for start, end in zip(starts, [*starts[1:], len(plain)], strict=True)]
    lengths = [len(option) for option in options]
    words = list(map(set, map(str.split, options)))
    with_digits = sum([_DIGIT.search(option) is not None for option in options]) if numeric else 0
    return (
        log1p(starts[0]),
        log1p(len(options)),
        log1p(sum(lengths) / len(options)),
        log1p(max(lengths) - min(lengths)),
        with_digits / len(options),
        max(map(_shared, words, words[1:])),
    )


def _shared(one: set[str], other: set[str]) -> float:
    """Words of both, as a share of the words of either."""
    both = len(one & other)
    return both / (len(one) + len(other) - both) if both else 0.0
