"""Finds the signs of a prompt that look like punctuation and tell as much as a word: a minus, inches, ".NET"."""

import re

# Each sign but a mark stands first, which makes for a quick search.
_MINUS = (
    r"-(?:(?=\d)|(?<= -)(?= )|(?<=\w-)(?!\w)"  # -5, a - b, blood type A-
    r"|(?<=\d-)(?=[^\W\d_]\b)|(?<=\b[^\W\d_]-)(?![^\W\d_]{2}))"  # 2-x, x-y
)
_MARK = r"(?<!['\"\w.,])(?:\d[\d.,]*|[^\W\d_]){}(?![^\W\d_])"  # feet, inches, a derivative
_SIGNS = (  # the last character of each match is the sign
    ("-", re.compile(_MINUS)),
    ("!", re.compile(r"!(?:(?<=\d!)|(?<=\b[^\W\d_]!)|(?<=\)!))")),
    ("'", re.compile(_MARK.format("'"))),
    ('"', re.compile(_MARK.format('"'))),
    (".", re.compile(r"\.(?<![\w.]\.)(?=[^\W\d_])")),
    (":", re.compile(r":(?<=\d:)(?=\d)")),
)
SIGNS = frozenset(sign for sign, _ in _SIGNS)


def signs_of(plain: str) -> set[int]:
    """Places of the signs."""
    return {match.end() - 1 for sign, found in _SIGNS if sign in plain for match in found.finditer(plain)}
