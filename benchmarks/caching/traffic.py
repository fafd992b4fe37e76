"""Labelled prompts as traffic: each seed a random 80 % of the categories in random order, and what is near what."""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.caching.corpus import kept_file, rows_of, vectors_of
from services.cache.sketch import Sketch, sketch

NEVER = "oos"  # the category whose answers never repeat
_LISTED = 512  # nearest texts listed for each, so that few lookups need the whole matrix
_BLOCK = 512
_SHARE = 0.8


@dataclass(frozen=True)
class Traffic:
    """Prompts of a file: `near` and `similarities` [texts, listed], most similar first, over the whole file."""

    texts: tuple[str, ...]
    categories: tuple[str, ...]
    sketches: tuple[Sketch, ...]
    vectors: NDArray[np.float32]
    near: NDArray[np.int32]
    similarities: NDArray[np.float32]

    def order(self, seed: int) -> list[int]:
        """The places of one seed's requests."""
        rng = random.Random(seed)
        names = sorted(set(self.categories))
        kept = set(rng.sample(names, round(_SHARE * len(names))))
        order = [place for place, category in enumerate(self.categories) if category in kept]
        rng.shuffle(order)
        return order

    def same(self, one: int, other: int) -> bool:
        """Whether two prompts have the same answer."""
        return self.categories[one] == self.categories[other] != NEVER


class Shelf:
    """What one replay has stored so far."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._stored = np.zeros(len(traffic.texts), bool)
        self._places: list[int] = []

    def __len__(self) -> int:
        return len(self._places)

    def add(self, place: int) -> None:
        """Stores a prompt."""
        self._stored[place] = True
        self._places.append(place)

    def nearest(self, place: int, k: int) -> tuple[list[int], list[float]]:
        """The stored prompts most similar to this one, and how similar they are; exact, most similar first."""
        listed = np.flatnonzero(self._stored[self._traffic.near[place]])[:k]
        if len(listed) >= min(k, len(self)):
            return self._traffic.near[place][listed].tolist(), self._traffic.similarities[place][listed].tolist()
        stored = np.array(self._places)
        similarities = self._traffic.vectors[stored] @ self._traffic.vectors[place]
        best = np.argsort(-similarities, kind="stable")[:k]
        return stored[best].tolist(), similarities[best].tolist()


def load(path: Path) -> Traffic:
    """The traffic of a file of `text` and `category`."""
    rows = rows_of(path)
    texts = tuple(row["text"] for row in rows)
    vectors = vectors_of(texts)
    kept = kept_file("near", texts, "npz")
    if not kept.exists():
        near, similarities = _near(vectors)
        part = kept.with_suffix(".part.npz")
        np.savez(part, near=near, similarities=similarities)
        part.rename(kept)
    lists = np.load(kept)
    sketches = tuple(sketch(text) for text in texts)
    return Traffic(
        texts, tuple(row["category"] for row in rows), sketches, vectors, lists["near"], lists["similarities"]
    )


def _near(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    count = len(vectors)
    listed = min(_LISTED, count - 1)
    near = np.empty((count, listed), np.int32)
    similarities = np.empty((count, listed), np.float32)
    for start in range(0, count, _BLOCK):
        block = vectors[start : start + _BLOCK] @ vectors.T
        block[np.arange(len(block)), np.arange(start, start + len(block))] = -2  # itself
        chosen = np.argpartition(-block, listed - 1, 1)[:, :listed]
        values = np.take_along_axis(block, chosen, 1)
        order = np.argsort(-values, 1, kind="stable")
        near[start : start + len(block)] = np.take_along_axis(chosen, order, 1)
        similarities[start : start + len(block)] = np.take_along_axis(values, order, 1)
    return near, similarities
