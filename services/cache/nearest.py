"""Vectors and their nearest neighbours, by the method that suits their number; the one file that knows FAISS."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import structlog

LARGE = 20_000  # vectors from which an exact search takes longer than one by clusters is worth
_OVERHEAD_BYTES = 4096
_BY_HASH = 2  # faiss.DirectMap.Hashtable: a removal costs 13 us instead of a look at every vector
_TRAINED_ON = 32  # vectors of the sample by cluster
_PROBED = 128  # clusters that a search looks at
_DROPPED_AT = 64  # removals
GROWN = 4  # times as many vectors as a clustering was made for, from which on it is made anew


@dataclass(frozen=True, slots=True)
class Vectors:
    """Sequences, int64 [n], and their unit vectors, float32 [n, dimension]."""

    sequences: npt.NDArray[np.int64]
    matrix: npt.NDArray[np.float32]


class Nearest:
    """An index of unit vectors by inner product; not for use by two threads at once.

    To `LARGE` vectors it is exact in float32. Beyond, `clustered` makes one in half precision whose search looks at
    128 of the clusters: at a million vectors 2 ms of CPU, and the nearest is missed by less than 1 % of queries.
    Clusters rather than a graph (HNSW) because they take removals and are made in a fraction of the time.
    """

    def __init__(self, index: Any, made_for: int) -> None:
        self._index = index
        self._made_for = made_for
        self._gone: set[int] = set()  # of an exact index, what a search still finds and leaves out

    @classmethod
    def exact(cls, stored: Vectors, dimension: int) -> "Nearest":
        """An exact index of these vectors."""
        index = faiss.IndexIDMap(faiss.IndexFlatIP(dimension))
        made = cls(index, LARGE // GROWN)
        made.add(stored)
        return made

    @classmethod
    def clustered(cls, stored: Vectors) -> "Nearest":
        """An index by clusters of these vectors, found on a GPU where there is one; minutes of CPU for a million."""
        faiss.omp_set_num_threads(1)  # built behind the requests' back
        count, dimension = stored.matrix.shape
        clusters = int(4 * np.sqrt(count))
        kind, metric = faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        index: Any = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatIP(dimension), dimension, clusters, kind, metric, False
        )
        index.cp.spherical, index.cp.niter = True, 6
        index.cp.min_points_per_centroid = 1  # the sample's size is ours to choose
        gpus = faiss.get_num_gpus()
        if gpus:
            structlog.get_logger("cache").info(
                "clusters are found on GPUs, as FAISS has some", gpus=gpus, vectors=count
            )
            index.clustering_index = faiss.index_cpu_to_all_gpus(faiss.IndexFlatIP(dimension))
        sample = np.random.default_rng(0).choice(count, min(count, _TRAINED_ON * clusters), replace=False)
        index.train(stored.matrix[np.sort(sample)])
        index.clustering_index = None
        index.nprobe = _PROBED
        index.set_direct_map_type(_BY_HASH)
        made = cls(index, count)
        made.add(stored)
        return made

    @classmethod
    def read(cls, path: Path, made_for: int) -> "Nearest":
        """What `write` wrote. Raises RuntimeError where it is no index."""
        return cls(faiss.read_index(str(path)), made_for)

    def write(self, path: Path) -> None:
        """Writes it to a file. Raises RuntimeError where it cannot."""
        faiss.write_index(self._index, str(path))

    def copy(self) -> "Nearest":
        """One that another thread may write."""
        self._drop_gone()
        return Nearest(faiss.clone_index(self._index), self._made_for)

    def __len__(self) -> int:
        """How many vectors it holds, those among them that are about to be dropped."""
        return int(self._index.ntotal)

    @property
    def made_for(self) -> int:
        """Vectors that it was made for."""
        return self._made_for

    @property
    def outgrown(self) -> bool:
        """Whether there are so many vectors by now that another index would do better."""
        return len(self) >= GROWN * self._made_for

    @property
    def is_exact(self) -> bool:
        """Whether a search looks at every vector."""
        return isinstance(self._index, faiss.IndexIDMap)

    @property
    def costly(self) -> bool:
        """Whether it takes so long to make that it is worth a file."""
        return not self.is_exact

    @property
    def bytes(self) -> int:
        """Bytes of memory, about."""
        number = 4 if self.is_exact else 2
        other = 8 if self.is_exact else 56  # the sequence, and where it is
        return _OVERHEAD_BYTES + len(self) * (number * int(self._index.d) + other)

    def search(self, vector: npt.NDArray[np.float32], k: int) -> list[tuple[int, float]]:
        """At most `k` (sequence, cosine similarity), nearest first."""
        faiss.omp_set_num_threads(1)  # per thread, and one query gains nothing from a second one
        wanted = min(k + len(self._gone), max(len(self), 1))
        similarities, sequences = self._index.search(vector[np.newaxis], wanted)
        found = zip(sequences[0].tolist(), similarities[0].tolist(), strict=True)
        return [one for one in found if one[0] >= 0 and one[0] not in self._gone][:k]

    def add(self, added: Vectors) -> None:
        """Adds vectors whose sequences are new."""
        faiss.omp_set_num_threads(1)
        if len(added.sequences):
            if not self._gone.isdisjoint(added.sequences.tolist()):
                self._drop_gone()
            self._index.add_with_ids(added.matrix, added.sequences)

    def remove(self, sequences: npt.NDArray[np.int64]) -> None:
        """Removes vectors, known or not; an exact index moves all that follow one, so that it drops many at once."""
        if not self.is_exact:
            self._index.remove_ids(faiss.IDSelectorArray(sequences))
            return
        self._gone.update(sequences.tolist())
        if len(self._gone) >= _DROPPED_AT:
            self._drop_gone()

    def _drop_gone(self) -> None:
        if self._gone:
            self._index.remove_ids(faiss.IDSelectorBatch(np.array(list(self._gone), np.int64)))
            self._gone.clear()

    def vectors(self) -> Vectors:
        """All vectors, as it holds them."""
        self._drop_gone()
        if self.is_exact:
            inner = faiss.downcast_index(self._index.index)
            matrix = inner.reconstruct_n(0, inner.ntotal)
            return Vectors(faiss.vector_to_array(self._index.id_map), matrix)
        lists, dimension = self._index.invlists, int(self._index.d)
        full = [one for one in range(self._index.nlist) if lists.list_size(one)]
        ids = [faiss.rev_swig_ptr(lists.get_ids(one), lists.list_size(one)) for one in full]
        codes = [faiss.rev_swig_ptr(lists.get_codes(one), lists.list_size(one) * lists.code_size) for one in full]
        matrix = np.concatenate(codes).view("<f2").reshape(-1, dimension).astype(np.float32)
        return Vectors(np.concatenate(ids), matrix)

    def sequences(self) -> npt.NDArray[np.int64]:
        """The sequences of all vectors."""
        self._drop_gone()
        if self.is_exact:
            return np.asarray(faiss.vector_to_array(self._index.id_map), np.int64)
        lists = self._index.invlists
        full = [one for one in range(self._index.nlist) if lists.list_size(one)]
        parts = [faiss.rev_swig_ptr(lists.get_ids(one), lists.list_size(one)) for one in full]
        return np.concatenate([np.zeros(0, np.int64), *parts])
