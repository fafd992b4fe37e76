"""Whether a conversation's last turn can be judged by itself: its embedding knows nothing of the turns before it.

One embedding is computed a request, of the last turn, and predictors are calibrated on single prompts. So a turn is
routed by itself where it stands by itself, and not at all where it leans on what was said: "and the second one?" looks
alike after an easy question and after a hard one, and so does "is the proof complete?", whose proof was given before,
while "what is the capital of Norway?" names what it is of. The rule reads English and errs towards leaning, which costs
money, not quality.
"""

import re

_LEAST_WORDS, _OWN_WORDS = 4, 30  # from the second number on, what a turn refers to is most likely in itself
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_GOES_ON = re.compile(
    r"\W*(?:and|but|or|so|then|also|ok|okay|yes|no|yeah|sure|thanks|instead|again|continue|go on|(?:what|how) about)\b",
    re.IGNORECASE,
)
_REFERRING = frozenset(
    (
        "these",
        "previous",
        "it's",
        "those",
        "again",
        "her",
        "above",
        "it",
        "its",
        "they",
        "former",
        "he",
        "his",
        "this",
        "their",
        "same",
        "earlier",
        "him",
        "them",
        "she",
        "latter",
    )
)
_GIVEN = frozenset(
    ("the", "more", "else", "other", "another", "next", "last", "one", "ones", "then", "here", "there", "such")
)  # of what is known already, unless it is named
_OWN_NAME = re.compile(r"\d|(?<=[^\s.?!:])[^\S\n]+[\"'(]?(?!I\b)[A-Z]|`")
_ENGLISH = frozenset(
    (
        "can",
        "to",
        "or",
        "list",
        "and",
        "does",
        "give",
        "was",
        "why",
        "from",
        "what",
        "where",
        "than",
        "write",
        "is",
        "a",
        "when",
        "did",
        "tell",
        "by",
        "are",
        "not",
        "were",
        "for",
        "find",
        "explain",
        "as",
        "of",
        "which",
        "the",
        "name",
        "do",
        "would",
        "in",
        "should",
        "on",
        "at",
        "an",
        "if",
        "who",
        "with",
        "how",
        "be",
    )
)


def leaning(text: str) -> str:
    """Why the turn says nothing without those before it, as the end of a sentence; empty where it stands by itself."""
    words = [word.lower() for word in _WORD.findall(text[:2000])]
    if len(words) >= _OWN_WORDS:
        return ""
    if len(words) < _LEAST_WORDS:
        return f"it has {len(words)} words, fewer than {_LEAST_WORDS}"
    if found := _GOES_ON.match(text):
        return f"it begins with {found.group().strip()!r}"
    if referring := next((word for word in words if word in _REFERRING), ""):
        return f"it says {referring!r}"
    if (given := next((word for word in words if word in _GIVEN), "")) and not _OWN_NAME.search(text):
        return f"it says {given!r} and names nothing of its own"
    return "" if any(word in _ENGLISH for word in words) else "it is short, and not evidently English"
