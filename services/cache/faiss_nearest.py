"""Nearest neighbours on the CPU, by the method that suits their number; the one file that knows FAISS."""

from itertools import islice
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import structlog

from services.cache import nearest
from services.cache.nearest import Vectors

_OVERHEAD_BYTES = 4096
_ROWS_DROPPED_AT = 64  # removals from an exact index
_SCANNED_DROPPED_AT = 256  # and from one with codes: a look at 20,000 of them takes 40 ms
_BY_HASH = 2  # faiss.DirectMap.Hashtable: a vector is found, or removed, at once
_TRAINED_ON = 32  # vectors of the sample by cluster
_PROBED = 128  # clusters that a search looks at
_WEIGHED = 128  # vectors whose similarity is taken in full, unless their codes are alike
_ALIKE = 0.05  # what the similarity by a code may be wrong by, beside vectors that it is as wrong for
_MOST_WEIGHED = 8192  # where they are, of clusters
_CODES_TRAINED_ON = 1024  # vectors
_ROW_LISTS = 1024  # so that a list of vectors which has to grow moves a thousandth of them
_CODES_DROPPED_AT = 256  # removals from clusters: a look at a million codes takes 14 ms
_BLOCK = 50_000  # vectors that are encoded at once
_PIECE = 1 << 24  # bytes
_MARK = b"FNC1"  # a release that knows only FAISS's own files reads none of these
_Reader: Any = faiss.PyCallbackIOReader  # type: ignore[attr-defined]  # its stubs lack both
_Writer: Any = faiss.PyCallbackIOWriter  # type: ignore[attr-defined]
_Bits: Any = faiss.IDSelectorBitmap  # its stubs want pointers
_Parameters: Any = faiss.SearchParameters


class ExactNearest:
    """What `Nearest` is, exact but for half precision, for half of memory and 0.6 of time.

    That moves a similarity by about 6e-5 at 384 dimensions: a vector's to itself may be above 1.
    """

    kind = "exact"
    costly = False
    made_for = 0  # it may grow as far as others, whatever it began with
    _dropped_at = _ROWS_DROPPED_AT

    def __init__(self, index: Any) -> None:
        self._index = index
        self._rows: Any = faiss.downcast_index(index.index)
        self._gone: set[int] = set()  # what a search still finds and leaves out, as a removal moves all that follow

    @classmethod
    def of(cls, stored: Vectors, dimension: int) -> "ExactNearest":
        """One of these vectors."""
        half = faiss.IndexScalarQuantizer(dimension, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
        made = cls(faiss.IndexIDMap(half))
        made.add(stored)
        return made

    @classmethod
    def read(cls, path: Path, made_for: int) -> "ExactNearest":
        """What `write` wrote. Raises RuntimeError where it is no index."""
        return cls(faiss.read_index(str(path)))

    def write(self, path: Path) -> None:
        """Writes it to a file. Raises RuntimeError where it cannot."""
        self._drop_gone()
        faiss.write_index(self._index, str(path))

    def copy(self) -> "ExactNearest":
        """One that another thread may write."""
        self._drop_gone()
        return ExactNearest(faiss.clone_index(self._index))

    def __len__(self) -> int:
        """How many vectors it holds, those among them that are about to be dropped."""
        return int(self._index.ntotal)

    @property
    def outgrown(self) -> bool:
        """Whether there are so many vectors by now that another index would do better."""
        return len(self) - len(self._gone) >= nearest.SCANNED

    @property
    def bytes(self) -> int:
        """Bytes of memory, about."""
        return _OVERHEAD_BYTES + len(self) * (2 * int(self._index.d) + 8)

    def search(self, vector: npt.NDArray[np.float32], k: int) -> list[tuple[int, float]]:
        """At most `k` (sequence, cosine similarity), nearest first."""
        faiss.omp_set_num_threads(1)  # per thread, and one query gains nothing from a second one
        wanted = min(k + len(self._gone), max(len(self), 1))
        similarities, sequences = self._index.search(vector[np.newaxis], wanted)
        return self._there(sequences[0], similarities[0])[:k]

    def add(self, added: Vectors) -> None:
        """Adds vectors whose sequences are new."""
        faiss.omp_set_num_threads(1)
        if len(added.sequences):
            if not self._gone.isdisjoint(added.sequences.tolist()):
                self._drop_gone()
            self._index.add_with_ids(added.matrix, added.sequences)

    def remove(self, sequences: npt.NDArray[np.int64]) -> None:
        """Removes vectors, known or not."""
        self._gone.update(sequences.tolist())
        if len(self._gone) >= self._dropped_at:
            self._drop_gone()

    def _drop_gone(self) -> None:
        if self._gone:
            self._index.remove_ids(faiss.IDSelectorBatch(np.array(list(self._gone), np.int64)))
            self._gone.clear()

    def vectors(self) -> Vectors:
        """All vectors, as it holds them."""
        sequences = self.sequences()
        return Vectors(sequences, self._rows.reconstruct_n(0, len(sequences)))

    def sequences(self) -> npt.NDArray[np.int64]:
        """The sequences of all vectors."""
        self._drop_gone()
        return self._held.copy()

    @property
    def _held(self) -> npt.NDArray[np.int64]:
        """The sequences of what it holds, those among them that are about to be dropped; FAISS's own memory."""
        held: npt.NDArray[np.int64] = faiss.rev_swig_ptr(self._index.id_map.data(), len(self))
        return held

    def _there(
        self, sequences: npt.NDArray[np.int64], similarities: npt.NDArray[np.float32]
    ) -> list[tuple[int, float]]:
        found = zip(sequences.tolist(), similarities.tolist(), strict=True)
        return [one for one in found if one[0] >= 0 and one[0] not in self._gone]


class ScannedNearest(ExactNearest):
    """What `ExactNearest` is, but for a neighbour in some thousands, in half of the time at 4,000 vectors.

    Beside each vector it has a code of four bits for each two dimensions, which FAISS's fast scan reads: the best 128
    are weighed in full, and all where codes cannot tell those wanted from the last of them.
    """

    _dropped_at = _SCANNED_DROPPED_AT

    def __init__(self, index: Any, codes: Any) -> None:
        super().__init__(index)
        self._codes = codes  # in the order of the index
        self.made_for = len(self)

    @classmethod
    def of(cls, stored: Vectors, dimension: int) -> "ScannedNearest":
        """One of these vectors, 16 of them at least; takes 15 us of CPU each."""
        faiss.omp_set_num_threads(1)  # built behind the requests' back
        codes: Any = faiss.IndexPQFastScan(dimension, _parts(dimension), 4, faiss.METRIC_INNER_PRODUCT)
        codes.pq.cp.min_points_per_centroid, codes.pq.cp.niter = 1, 6
        count = len(stored.sequences)
        codes.train(stored.matrix[_sample(count, _CODES_TRAINED_ON)])
        codes.add(stored.matrix)
        return cls(ExactNearest.of(stored, dimension)._index, codes)

    @property
    def outgrown(self) -> bool:
        """Whether there are so many vectors by now that another index would do better."""
        return len(self) - len(self._gone) >= min(nearest.LARGE, nearest.GROWN * self.made_for)

    @property
    def bytes(self) -> int:
        """Bytes of memory, about."""
        return super().bytes + len(self) * int(self._codes.code_size)

    def search(self, vector: npt.NDArray[np.float32], k: int) -> list[tuple[int, float]]:
        """At most `k` (sequence, cosine similarity), nearest first."""
        faiss.omp_set_num_threads(1)  # per thread, and one query gains nothing from a second one
        wanted, query = k + len(self._gone), vector[np.newaxis]
        ((nearest_first,), (places,)) = self._codes.search(query, max(_WEIGHED, k) + len(self._gone))
        if places[-1] < 0:
            return super().search(vector, k)
        there = (at for at, one in enumerate(self._held[places].tolist()) if one not in self._gone)
        if nearest_first[next(islice(there, k - 1, None))] - nearest_first[-1] < _ALIKE:
            return super().search(vector, k)
        likely = np.zeros(len(self), np.bool_)
        likely[places] = True
        chosen = _Parameters(sel=_Bits(np.packbits(likely, bitorder="little")))
        ((similarities,), (places,)) = self._rows.search(query, wanted, params=chosen)
        return self._there(self._held[places], similarities)[:k]

    def add(self, added: Vectors) -> None:
        """Adds vectors whose sequences are new."""
        super().add(added)
        if len(added.sequences):
            self._codes.add(np.ascontiguousarray(added.matrix))

    def _drop_gone(self) -> None:
        if not self._gone:
            return
        places = np.flatnonzero(np.isin(self._held, list(self._gone)))
        super()._drop_gone()
        before = self._codes.ntotal
        self._codes.remove_ids(faiss.IDSelectorBatch(places))
        _clear(self._codes.get_CodePacker(), self._codes.codes.get(), len(self), before)


class ClusteredNearest:
    """What `Nearest` is, approximately: the nearest is missed by less than 1 % of queries at a million vectors.

    `codes` has four bits for each two dimensions (product quantisation) by 4 sqrt(n) clusters, scanned with the values
    in registers (FAISS's fast scan, after André et al., "Cache locality is not enough", 2015). `rows` has the vectors
    in half precision by sequence. At a million vectors of 384 dimensions a search reads 6 MB of centroids and 3 MB of
    codes where the vectors themselves are 25 MB. Codes cannot tell prompts of one long template apart: where the best
    are as much alike more of them are weighed, up to 8,192. Clusters rather than a graph (HNSW) because they take
    removals and are made in a fraction of the time.
    """

    kind = "clusters"
    costly = True

    def __init__(self, codes: Any, rows: Any, made_for: int) -> None:
        self._codes, self._rows = codes, rows
        self.made_for = made_for
        self._gone: set[int] = set()  # what a scan still finds and a search leaves out

    @classmethod
    def of(cls, stored: Vectors) -> "ClusteredNearest":
        """One of these vectors, its clusters found on a GPU where there is one; minutes of CPU for a million."""
        faiss.omp_set_num_threads(1)  # built behind the requests' back
        count, dimension = stored.matrix.shape
        clusters, metric = int(4 * np.sqrt(count)), faiss.METRIC_INNER_PRODUCT
        coarse = faiss.IndexFlatIP(dimension)
        codes: Any = faiss.IndexIVFPQFastScan(coarse, dimension, clusters, _parts(dimension), 4, metric)
        codes.by_residual = False
        codes.cp.spherical, codes.cp.niter = True, 6
        for training in (codes.cp, codes.pq.cp):
            training.min_points_per_centroid = 1  # the sample's size is ours to choose
        gpus = faiss.get_num_gpus()
        if gpus:
            structlog.get_logger("cache").info(
                "clusters are found on GPUs, as FAISS has some", gpus=gpus, vectors=count
            )
            codes.clustering_index = faiss.index_cpu_to_all_gpus(faiss.IndexFlatIP(dimension))
        codes.train(stored.matrix[_sample(count, _TRAINED_ON * clusters)])
        codes.clustering_index = None
        codes.nprobe = _PROBED
        half = faiss.ScalarQuantizer.QT_fp16
        rows: Any = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatIP(dimension), dimension, _ROW_LISTS, half, metric, False
        )
        rows.is_trained = True  # there is nothing to learn: lists by sequence, half precision
        rows.set_direct_map_type(_BY_HASH)
        made = cls(codes, rows, count)
        made.add(stored)
        return made

    @classmethod
    def read(cls, path: Path, made_for: int) -> "ClusteredNearest":
        """What `write` wrote. Raises OSError or RuntimeError where it is no index."""
        with path.open("rb") as file:
            if file.read(len(_MARK)) != _MARK:
                raise RuntimeError("no file of clusters")
            codes, rows = (faiss.read_index(_Reader(file.read, _PIECE)) for _ in range(2))
        return cls(codes, rows, made_for)

    def write(self, path: Path) -> None:
        """Writes it to a file. Raises OSError or RuntimeError where it cannot."""
        self._drop_gone()
        with path.open("wb") as file:
            file.write(_MARK)
            for part in (self._codes, self._rows):
                faiss.write_index(part, _Writer(file.write, _PIECE))

    def copy(self) -> "ClusteredNearest":
        """One that another thread may write."""
        self._drop_gone()
        return ClusteredNearest(faiss.clone_index(self._codes), faiss.clone_index(self._rows), self.made_for)

    def __len__(self) -> int:
        """How many vectors it holds."""
        return int(self._rows.ntotal)

    @property
    def outgrown(self) -> bool:
        """Whether there are so many vectors by now that another index would do better."""
        return len(self) >= nearest.GROWN * self.made_for

    @property
    def bytes(self) -> int:
        """Bytes of memory, about: a code and its sequence; a vector, its sequence and where it is."""
        return _OVERHEAD_BYTES + len(self) * (int(self._codes.code_size) + 8 + 2 * int(self._rows.d) + 56)

    def search(self, vector: npt.NDArray[np.float32], k: int) -> list[tuple[int, float]]:
        """At most `k` (sequence, cosine similarity), nearest first."""
        faiss.omp_set_num_threads(1)  # per thread, and one query gains nothing from a second one
        wanted = max(_WEIGHED, k) + len(self._gone)
        ((nearest_first,), (scanned,)) = self._codes.search(vector[np.newaxis], wanted)
        while wanted < _MOST_WEIGHED and scanned[-1] >= 0 and nearest_first[0] - nearest_first[-1] < _ALIKE:
            wanted *= 8
            ((nearest_first,), (scanned,)) = self._codes.search(vector[np.newaxis], wanted)
        likely = np.array([one for one in scanned.tolist() if one >= 0 and one not in self._gone], np.int64)
        similarities = self._rows.reconstruct_batch(likely) @ vector
        best = np.argsort(-similarities, kind="stable")[:k]
        return list(zip(likely[best].tolist(), similarities[best].tolist(), strict=True))

    def add(self, added: Vectors) -> None:
        """Adds vectors whose sequences are new."""
        faiss.omp_set_num_threads(1)
        if not self._gone.isdisjoint(added.sequences.tolist()):
            self._drop_gone()
        for start in range(0, len(added.sequences), _BLOCK):
            sequences = np.ascontiguousarray(added.sequences[start : start + _BLOCK])
            matrix = np.ascontiguousarray(added.matrix[start : start + _BLOCK])
            lists = sequences % _ROW_LISTS
            pointers = [faiss.swig_ptr(array) for array in (matrix, sequences, lists)]
            self._rows.add_core(len(sequences), *pointers)  # first: a code without its row could not be weighed
            self._codes.add_with_ids(matrix, sequences)

    def remove(self, sequences: npt.NDArray[np.int64]) -> None:
        """Removes vectors, known or not."""
        self._rows.remove_ids(faiss.IDSelectorArray(sequences))
        self._gone.update(sequences.tolist())
        if len(self._gone) >= _CODES_DROPPED_AT:
            self._drop_gone()

    def _drop_gone(self) -> None:
        if not self._gone:
            return
        lists: Any = faiss.downcast_InvertedLists(self._codes.invlists)
        before = [lists.list_size(one) for one in range(lists.nlist)]
        self._codes.remove_ids(faiss.IDSelectorBatch(np.array(list(self._gone), np.int64)))
        self._gone.clear()
        for one, size in enumerate(before):
            left = lists.list_size(one)
            _clear(lists.packer, lists.get_codes(one), left, size)

    def vectors(self) -> Vectors:
        """All vectors, as it holds them."""
        sequences = self.sequences()
        return Vectors(sequences, self._rows.reconstruct_batch(sequences))

    def sequences(self) -> npt.NDArray[np.int64]:
        """The sequences of all vectors."""
        lists = self._rows.invlists
        full = [one for one in range(_ROW_LISTS) if lists.list_size(one)]
        parts = [faiss.rev_swig_ptr(lists.get_ids(one), lists.list_size(one)) for one in full]
        return np.concatenate([np.zeros(0, np.int64), *parts])


def _parts(dimension: int) -> int:
    """Of a code: one for each two dimensions."""
    return dimension // 2 if dimension % 2 == 0 else dimension


def _sample(count: int, most: int) -> npt.NDArray[np.int64]:
    return np.sort(np.random.default_rng(0).choice(count, min(count, most), replace=False))


def _clear(packer: Any, codes: Any, left: int, before: int) -> None:
    """Clears what is left of removed codes: of so many before, in the block where those that are left end.

    FAISS 1.15.1 leaves their bits behind the end, and writes the next code over them with "or".
    """
    whole, used = divmod(left, packer.nvec)
    if used:
        block = faiss.rev_swig_ptr(codes, (whole + 1) * packer.block_size)[np.newaxis, whole * packer.block_size :]
        nothing = np.zeros(packer.code_size, np.uint8)
        for place in range(used, min(before - whole * packer.nvec, packer.nvec)):
            packer.pack_1(nothing, place, block)
