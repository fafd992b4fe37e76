"""A large scope's vectors on a GPU, all of which a search looks at: the kernels of `kernels/similarity_top_k`."""

import weakref
from pathlib import Path

import numpy as np
import numpy.typing as npt
import structlog

from kernels.contract import ceil_div
from kernels.cuda_driver import CudaUnavailable
from kernels.device_kernel import DeviceKernel, Tensor
from kernels.similarity_top_k.plugin import SIMILARITY_TOP_K, TOP_K_MERGE, constants
from kernels.specimens import specimen
from kernels.tuning import configuration
from services.cache.faiss_nearest import ExactNearest
from services.cache.nearest import Vectors
from services.cache.search_device import SearchDevice

MOST = 16  # neighbours that a search may ask for: each one more costs every program of the kernel a pass over its rows
_PROVED = 4  # searches that must find what the host finds before the first one counts
_TOLERANCE = 2e-3  # of a similarity of float16 vectors
_HOST_BYTES = 112  # a vector's sequence and where it is


class DeviceNearest:
    """What `Nearest` is, exact in half precision, for half as many more vectors as it is made of.

    Every method may raise CudaUnavailable, after which it is of no more use; the store has all that it held.
    """

    kind, made_for = ExactNearest.kind, ExactNearest.made_for
    costly = True

    def __init__(self, device: SearchDevice, stored: Vectors) -> None:
        count, self._dimension = (int(size) for size in stored.matrix.shape)
        self._driver = driver = device.open()
        self._capacity = count + count // 2
        scan = configuration(SIMILARITY_TOP_K, driver.architecture).constants
        fixed = constants(self._dimension, MOST, scan["BLOCK_FEATURES"])
        self._scan = DeviceKernel(driver, specimen(SIMILARITY_TOP_K, fixed, "fp16", driver.architecture))
        self._merge = DeviceKernel(driver, specimen(TOP_K_MERGE, {"K": MOST}, "fp16", driver.architecture))
        self._chunk = scan["BLOCK_ROWS"]
        self._block = configuration(TOP_K_MERGE, driver.architecture).constants["BLOCK"]
        self._row_bytes = 2 * self._dimension
        candidates = 4 * MOST * ceil_div(self._capacity, self._chunk)
        taken = device.take([self._row_bytes, self._capacity * self._row_bytes, *(4 * [candidates])])
        weakref.finalize(self, device.give_back, taken).atexit = False  # when the last search of it has ended
        self._query, self._matrix = taken[:2]
        self._turns = (taken[2:4], taken[4:6])  # scores and ids, written in turn
        self._sequences: list[int] = []  # by row
        self._row: dict[int, int] = {}
        self.add(stored)
        self._prove(stored)

    @classmethod
    def made(cls, device: SearchDevice, stored: Vectors) -> "DeviceNearest | None":
        """One of these vectors; None, with the reason in the log, where there is no GPU for it, or it is not right."""
        log = structlog.get_logger("cache").bind(vectors=len(stored.sequences))
        try:
            made = cls(device, stored)
        except Exception as error:  # noqa: BLE001 - whatever a GPU's libraries raise, the CPU still serves
            log.info("large scope is searched by clusters", reason=str(error))
            return None
        log.info("large scope is searched on the GPU", gpu=device.open().name, gpu_bytes=device.bytes)
        return made

    def __len__(self) -> int:
        """How many vectors it holds."""
        return len(self._sequences)

    @property
    def outgrown(self) -> bool:
        """Whether there is little room left; another is made while this one has some."""
        return len(self) >= self._capacity - self._capacity // 16

    @property
    def bytes(self) -> int:
        """Bytes of the host's memory, about."""
        return _HOST_BYTES * len(self)

    def search(self, vector: npt.NDArray[np.float32], k: int) -> list[tuple[int, float]]:
        """At most `k` (sequence, cosine similarity), nearest first; `k` is at most `MOST`."""
        if not 0 < k <= MOST:
            raise ValueError(f"k: {k}, expected 1 to {MOST}")
        if not self._sequences:
            return []
        self._driver.activate()
        self._driver.upload(self._query, vector.astype(np.float16))
        asked = {"queries": Tensor(self._query, (1, self._dimension)), "matrix": self._stored}
        found, spare = self._turns
        self._scan(asked, found)
        left = ceil_div(len(self), self._chunk)
        while left > 1:
            sizes = (1, MOST * left)
            self._merge({name: Tensor(at, sizes) for name, at in zip(("scores", "ids"), found, strict=True)}, spare)
            found, spare, left = spare, found, ceil_div(MOST * left, self._block)
        scores, rows = np.empty(MOST, np.float32), np.empty(MOST, np.int32)
        self._driver.download(found[0], scores)
        self._driver.download(found[1], rows)
        pairs = zip(rows.tolist(), scores.tolist(), strict=True)
        return [(self._sequences[row], score) for row, score in pairs if 0 <= row < len(self)][:k]

    def add(self, added: Vectors) -> None:
        """Adds vectors whose sequences are new."""
        count = len(added.sequences)
        if len(self) + count > self._capacity:
            raise CudaUnavailable(f"{len(self)} vectors and {count} more, expected at most {self._capacity}")
        if count:
            self._driver.activate()
            self._driver.upload(self._at(len(self)), added.matrix.astype(np.float16))
            self._row.update(zip(added.sequences.tolist(), range(len(self), len(self) + count), strict=True))
            self._sequences += added.sequences.tolist()

    def remove(self, sequences: npt.NDArray[np.int64]) -> None:
        """Removes vectors, known or not: the last one takes the place of each."""
        self._driver.activate()
        for sequence in sequences.tolist():
            row = self._row.pop(sequence, None)
            if row is None:
                continue
            last = self._sequences.pop()
            if last != sequence:
                size = self._row_bytes
                self._driver.copy_rows(self._at(len(self)), size, self._at(row), size, size, 1)
                self._sequences[row], self._row[last] = last, row

    def vectors(self) -> Vectors:
        """All vectors, as it holds them."""
        matrix = np.empty(self._stored.sizes, np.float16)
        self._driver.activate()
        self._driver.download(self._matrix, matrix)
        return Vectors(np.array(self._sequences, np.int64), matrix.astype(np.float32))

    def copy(self) -> ExactNearest:
        """An exact one on the host, that another thread may write."""
        return ExactNearest.of(self.vectors(), self._dimension)

    def write(self, path: Path) -> None:
        """Writes an exact index for the host, which whoever reads it may bring to a GPU. Raises RuntimeError."""
        self.copy().write(path)

    @property
    def _stored(self) -> Tensor:
        return Tensor(self._matrix, (len(self), self._dimension))

    def _at(self, row: int) -> int:
        return self._matrix + row * self._row_bytes

    def _prove(self, stored: Vectors) -> None:
        """Raises CudaUnavailable where the GPU does not find the host's neighbours."""
        for vector in stored.matrix[:: max(1, len(self) // _PROVED)]:
            similarities = stored.matrix @ vector
            expected = np.sort(similarities)[: -MOST - 1 : -1]
            found = self.search(vector, MOST)
            true = similarities[[self._row[sequence] for sequence, _ in found]]
            told = np.array([similarity for _, similarity in found])
            if len(found) != len(expected) or not np.allclose([true, told], expected, rtol=0, atol=_TOLERANCE):
                raise CudaUnavailable("the GPU finds other neighbours than the host")
