"""Nearest neighbours: the same as by hand, within a partition, in bounded memory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.cache.entry import Partition
from services.cache.vector_index import VectorIndex, Vectors

DIMENSION = 8


def unit(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).standard_normal(DIMENSION).astype("<f4")
    return np.asarray(vector / np.linalg.norm(vector), "<f4")


class Stored:
    """What a store would hold, and how often it was read."""

    def __init__(self) -> None:
        self.of: dict[Partition, dict[int, np.ndarray]] = {}
        self.reads = 0

    def load(self, partition: Partition) -> Vectors:
        self.reads += 1
        known = self.of.get(partition, {})
        matrix = np.array(list(known.values()), np.float32).reshape(max(len(known), 1), -1)
        return Vectors(np.array(list(known), np.int64), matrix)


steps = st.lists(st.tuples(st.sampled_from("asr"), st.integers(0, 2), st.integers(0, 15)), max_size=60)


@settings(max_examples=60, deadline=None)
@given(steps=steps, max_bytes=st.sampled_from([0, 9000, 10**6]))
def test_neighbours_by_hand(steps: list[tuple[str, int, int]], max_bytes: int) -> None:
    """After any additions and removals a search finds what a dot product over the partition finds."""
    stored = Stored()
    index = VectorIndex(stored.load, max_bytes)
    for action, where, number in steps:
        partition = Partition("t", bytes([where]))
        known = stored.of.setdefault(partition, {})
        if action == "a" and number not in known:
            known[number] = unit(number)
            index.add(partition, number, known[number])
        elif action == "r":
            known.pop(number, None)
            index.remove(partition, [number])
        elif action == "s":
            query = unit(100 + number)
            expected = sorted(((float(v @ query), s) for s, v in known.items()), reverse=True)[:3]
            found = index.search(partition, query, 3)
            assert [s for s, _ in found] == [s for _, s in expected]
            assert [c for _, c in found] == pytest.approx([c for c, _ in expected], abs=1e-6)


def test_memory_is_bounded() -> None:
    """The partition searched longest ago is dropped, and read again when it is needed."""
    stored = Stored()
    index = VectorIndex(stored.load, 2 * (4096 + 10 * (4 * DIMENSION + 8)))
    partitions = [Partition("t", bytes([number])) for number in range(3)]
    for partition in partitions:
        stored.of[partition] = {number: unit(number) for number in range(10)}
    for partition in partitions:
        index.search(partition, unit(0), 1)
    assert index.bytes <= 2 * (4096 + 10 * (4 * DIMENSION + 8))
    for partition, reads in ((partitions[2], 3), (partitions[1], 3), (partitions[0], 4)):
        index.search(partition, unit(0), 1)
        assert stored.reads == reads
