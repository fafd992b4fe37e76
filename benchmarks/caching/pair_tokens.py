"""How well the tokens of two texts find each other in their contexts, and what those come to that only one text has."""

import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.caching.corpus import kept_file
from benchmarks.caching.token_states import Read, TokenStates

_CHUNK = 2048  # pairs whose states are held at once
_LEAST_WEIGHT = 0.02  # of a token that is in nearly every text
_WORST = 3  # of the tokens that find nothing like them, told one by one
_NUMBERS = 2 * (_WORST + 8) + 2

Vectors = NDArray[np.float32]
Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Met:
    """What the encoder's tokens tell of pairs, whichever text comes first.

    Args:
        vectors: unit embeddings of the texts, a pair's after one another, shape [2 x pairs, hidden].
        aligned: how well tokens find each other, shape [pairs, numbers].
        apart: what the tokens that only one text has come to, and the shared ones, shape [pairs, 4 x hidden].
    """

    vectors: Vectors
    aligned: Vectors
    apart: Vectors


class PairTokens:
    """The encoder's view of pairs; how telling a token is comes of the texts given at first."""

    def __init__(self, states: TokenStates, texts: Sequence[str]) -> None:
        self._states = states
        counts = Counter(token for text in texts for token in set(self._states.ids(text)))
        self._rarity = {token: math.log(len(texts) / (1 + count)) for token, count in counts.items()}
        self._rarest = math.log(max(len(texts), 2))
        self._known = [self._states.digest, str(len(texts)), *map(str, sorted(counts.items()))]

    def met(self, pairs: Pairs) -> Met:
        """What its tokens tell of each pair."""
        kept = kept_file("tokens", [*self._known, *(text for pair in pairs for text in pair)], "npz")
        if not kept.exists():
            chunks = []
            for start in range(0, len(pairs), _CHUNK):
                chunks.append(self._chunk(pairs[start : start + _CHUNK]))
                print(f"read {min(start + _CHUNK, len(pairs))} of {len(pairs)} pairs", file=sys.stderr, flush=True)
            part = kept.with_suffix(".part.npz")
            np.savez(part, *(np.concatenate(kind) for kind in zip(*chunks, strict=True)))
            part.rename(kept)
        with np.load(kept) as found:
            return Met(*(found[name] for name in found.files))

    def _chunk(self, pairs: Pairs) -> tuple[Vectors, Vectors, Vectors]:
        read = self._states.read(text for pair in pairs for text in pair)
        vectors = [read[text].states[-1].mean(0) for pair in pairs for text in pair]
        aligned, apart = zip(*(self._row(read[one], read[other]) for one, other in pairs), strict=True)
        return _unit(np.array(vectors)), np.array(aligned, np.float32), np.array(apart)

    def _row(self, one: Read, other: Read) -> tuple[list[float], Vectors]:
        sides = self._side(one, other), self._side(other, one)
        if not all(len(side.weights) for side in sides):
            return [0.0] * _NUMBERS, np.zeros(4 * one.states.shape[-1], np.float32)
        aligned = [number for layer in (0, 1) for number in _alignment(*sides, layer)]
        shares = sorted(float(side.weights @ side.alone / side.weights.sum()) for side in sides)
        return [*aligned, *shares], _apart(*sides)

    def _side(self, read: Read, other: Read) -> "_Side":
        ids = read.ids[1:-1]
        weights = [max(self._rarity.get(token, self._rarest), _LEAST_WEIGHT) for token in ids.tolist()]
        alone = ~np.isin(ids, other.ids)
        return _Side(_unit(read.states[:, 1:-1]), np.array(weights, np.float32), alone.astype(np.float32))


class _Side(NamedTuple):
    """A text's tokens but the special ones.

    Args:
        states: of unit length, shape [layers, tokens, hidden].
        weights: how telling each is.
        alone: 1 where the other text lacks it, else 0.
    """

    states: Vectors
    weights: Vectors
    alone: Vectors


def _alignment(one: _Side, other: _Side, layer: int) -> list[float]:
    a, b = one.states[layer], other.states[layer]
    likeness = a @ b.T
    best, found = likeness.max(1), likeness.max(0)
    lost = np.sort(np.concatenate([one.weights * (1 - best), other.weights * (1 - found)]))[::-1]
    means = sorted((_mean(best, one.weights), _mean(found, other.weights)))
    numbers = [*means, lost.sum(), *[*lost[:_WORST], 0.0, 0.0][:_WORST], min(best.min(), found.min())]
    numbers.append(_cosine(one.weights @ a, other.weights @ b))
    if not (one.alone.any() and other.alone.any()):
        return [*numbers, 0.0, 0.0, 0.0]
    mine, its = one.weights * one.alone, other.weights * other.alone
    rest = likeness[np.ix_(mine > 0, its > 0)]
    nearest = min(_mean(rest.max(1), mine[mine > 0]), _mean(rest.max(0), its[its > 0]))
    return [*numbers, _cosine(mine @ a, its @ b), nearest, float(rest.max())]


def _apart(one: _Side, other: _Side) -> Vectors:
    """Sum, distance and product of what the tokens had alone come to, and the sum of the shared ones."""
    a, b = (side.weights * side.alone / side.weights.sum() @ side.states[0] for side in (one, other))
    shared = [side.weights * (1 - side.alone) / side.weights.sum() @ side.states[0] for side in (one, other)]
    return np.concatenate([a + b, np.abs(a - b), a * b, shared[0] + shared[1]])


def _mean(values: Vectors, weights: Vectors) -> float:
    return float(values @ weights / weights.sum())


def _cosine(one: Vectors, other: Vectors) -> float:
    return float(_unit(one) @ _unit(other))


def _unit(rows: Vectors) -> Vectors:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-9))
