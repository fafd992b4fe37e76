"""The same question asked otherwise, and what that does to embeddings: it must not change where a question goes."""

import random
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

_TYPOS = 0.02  # share of words, at least one
_DISTURBED, _DIRECTIONS = 150, 8


def typos(text: str) -> str:
    """Two neighbouring letters swapped inside one word in fifty, of those longer than three letters."""
    chance, words = random.Random(text), text.split(" ")  # noqa: S311 the same typos each time, not a secret
    long = [place for place, word in enumerate(words) if len(word) > 3 and word.isalpha()]
    for place in chance.sample(long, min(len(long), max(1, int(len(words) * _TYPOS)))):
        word, at = words[place], chance.randrange(1, len(words[place]) - 2)
        words[place] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return " ".join(words)


def courtesy(text: str) -> str:
    """A greeting and a please before, thanks after."""
    return f"Hi there, please answer the following question. {text} Thanks in advance!"


def nuisance(prompts: Sequence[str], embed: Callable[[Sequence[str]], NDArray[np.float32]]) -> NDArray[np.float32]:
    """The directions [8, e] in which courtesy and typos move embeddings most, found on up to 150 of some prompts."""
    some = prompts[:: max(1, len(prompts) // _DISTURBED)][:_DISTURBED]
    plain = embed(some)
    moved = [embed([disturb(prompt) for prompt in some]) - plain for disturb in (courtesy, typos)]
    found: NDArray[np.float32] = np.linalg.svd(np.concatenate(moved), full_matrices=False)[2][:_DIRECTIONS]
    return found
