"""Prompts whose options were written one letter each, put together again.

Outputs published for MMLU-Pro hold their options as the text of a list; exports that take that text for the list give a
thousand options of one letter (`A. [`, `B. "`, `C. I` and so on, past Z through whatever follows it in Unicode).
"""

import ast
from collections.abc import Sequence

_FIRST = ord("A")
_LEAST_LETTERS = 27  # more options than the alphabet names


def mended(prompt: str) -> str:
    """The prompt with whole options, or as it is where they are not spelled."""
    start = prompt.find("\nA. ")
    if start < 0:
        return prompt
    letters: list[str] = []
    at = start
    while prompt.startswith(f"\n{chr(_FIRST + len(letters))}. ", at) and at + 4 < len(prompt):
        letters.append(prompt[at + 4])
        at += 5
    options = _options("".join(letters)) if len(letters) >= _LEAST_LETTERS else []
    if not options:
        return prompt
    whole = "".join(f"\n{chr(_FIRST + place)}. {one}" for place, one in enumerate(options))
    return prompt[:start] + whole + prompt[at:]


def _options(text: str) -> Sequence[str]:
    """The list that a text writes, of texts; empty where it is none."""
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return []
    return found if isinstance(found, list) and all(isinstance(one, str) for one in found) else []
