"""Nearest neighbours within one partition; the one file that knows FAISS."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import faiss
import numpy as np
import numpy.typing as npt

from services.cache.entry import Partition

_OVERHEAD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Vectors:
    """Sequences, int64 [n], and their unit vectors, float32 [n, dimension]."""

    sequences: npt.NDArray[np.int64]
    matrix: npt.NDArray[np.float32]


class VectorIndex:
    """One flat inner-product index a partition, so that nothing is ever found across.

    An index is built from the store when its partition is first searched, and the one searched longest ago is dropped
    when all together pass `max_bytes`; the store stays the truth. Flat because it is exact, takes removals, and meets
    1 ms to about 10,000 entries a partition. Not for use by two threads at once.
    """

    def __init__(self, load: Callable[[Partition], Vectors], max_bytes: int) -> None:
        self._load = load
        self._max_bytes = max_bytes
        self._built: OrderedDict[Partition, faiss.IndexIDMap] = OrderedDict()

    def search(self, partition: Partition, vector: npt.NDArray[np.float32], k: int) -> list[tuple[int, float]]:
        """At most `k` (sequence, cosine similarity), nearest first."""
        index = self._index(partition, len(vector))
        faiss.omp_set_num_threads(1)  # per thread, and one query gains nothing from a second one
        similarities, sequences = index.search(vector[np.newaxis], min(k, max(index.ntotal, 1)))
        return [
            (int(sequence), float(similarity))
            for sequence, similarity in zip(sequences[0], similarities[0], strict=True)
            if sequence >= 0
        ]

    def add(self, partition: Partition, sequence: int, vector: npt.NDArray[np.float32]) -> None:
        """Adds an entry that the store already keeps."""
        index = self._built.get(partition)
        if index is not None:
            index.add_with_ids(vector[np.newaxis], np.array([sequence], np.int64))
            self._shrink(keep=partition)

    def remove(self, partition: Partition, sequences: list[int]) -> None:
        """Removes entries, known or not."""
        index = self._built.get(partition)
        if index is not None:
            index.remove_ids(faiss.IDSelectorBatch(np.array(sequences, np.int64)))

    @property
    def bytes(self) -> int:
        """Bytes of all indexes built now."""
        return sum(_bytes(index) for index in self._built.values())

    def _index(self, partition: Partition, dimension: int) -> faiss.IndexIDMap:
        index = self._built.get(partition)
        if index is None:
            index = faiss.IndexIDMap(faiss.IndexFlatIP(dimension))
            stored = self._load(partition)
            if len(stored.sequences):
                index.add_with_ids(stored.matrix, stored.sequences)
            self._built[partition] = index
            self._shrink(keep=partition)
        self._built.move_to_end(partition)
        return index

    def _shrink(self, keep: Partition) -> None:
        while self.bytes > self._max_bytes and len(self._built) > 1:
            oldest = next(partition for partition in self._built if partition != keep)
            del self._built[oldest]


def _bytes(index: faiss.IndexIDMap) -> int:
    return _OVERHEAD_BYTES + int(index.ntotal) * (4 * int(index.d) + 8)
