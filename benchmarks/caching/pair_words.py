"""Which words two prompts share, which one of them has alone and which stand in for each other, as sparse columns."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise, product

from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import HashingVectorizer

_COLUMNS = 2**18
_MOST_EXCHANGES = 16  # more would say that the texts differ, not which word stands for which
_WORD = re.compile(r"\w+")


def changes(pairs: Sequence[tuple[str, str]]) -> csr_matrix:
    """Shape [pairs, columns]; 1 in the column of each word or two words, whichever text comes first."""
    hashing = HashingVectorizer(n_features=_COLUMNS, analyzer=_changes, binary=True, norm=None, alternate_sign=False)
    return hashing.transform(pairs).tocsr()


def _changes(pair: tuple[str, str]) -> Iterator[str]:
    one, other = (_WORD.findall(text.lower()) for text in pair)
    mine, its = set(one) - set(other), set(other) - set(one)
    yield from (f"both {word}" for word in set(one) & set(other))
    yield from (f"one {word}" for word in mine | its)
    yield from (f"one {first} {second}" for first, second in set(pairwise(one)) ^ set(pairwise(other)))
    if len(mine) * len(its) <= _MOST_EXCHANGES:
        yield from (" for ".join(sorted(exchange)) for exchange in product(mine, its))
