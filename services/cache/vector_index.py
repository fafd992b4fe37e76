"""Nearest neighbours within one space: which index each space has, and when it is made anew."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
import structlog

from kernels.cuda_driver import CudaUnavailable
from services.cache import nearest
from services.cache.device_nearest import DeviceNearest
from services.cache.entry import Space
from services.cache.faiss_nearest import ClusteredNearest, ExactNearest, ScannedNearest
from services.cache.nearest import Nearest, Vectors
from services.cache.search_device import SearchDevice
from services.cache.snapshots import Snapshots

_CHANGED = 0.1  # part of a large index that changes before it is written again
_WORTH_CODES = 100  # searches since an index was read: some hundreds save what making its codes takes


class VectorSource(Protocol):
    """Where the vectors are kept, whatever happens to an index."""

    @property
    def encoders(self) -> Mapping[str, int]:
        """Whose they are, by digest, and their dimension."""

    def of(self, space: Space) -> Vectors:
        """All vectors of a space."""

    def sequences(self, space: Space) -> list[int]:
        """The entries that have one in a space."""

    def some(self, sequences: list[int], encoder: str) -> Vectors:
        """Those of these entries by this encoder."""

    def settle(self) -> None:
        """Has what was written so far survive a power cut."""


@dataclass(slots=True)
class _Built:
    """The index of a space, the one that is being made for it, and what changed meanwhile and since written."""

    index: Nearest
    searches: int = 0  # since it was read
    making: Future[Nearest] | None = None
    changes: list[tuple[int, npt.NDArray[np.float32] | None]] = field(default_factory=list)
    unwritten: int = 0
    not_before: int = 0  # entries, before another try to make one that failed


class VectorIndex:
    """One index a space, so that nothing is ever found across; not for use by two threads at once.

    An index is built from the store when its space is first searched, and the one searched longest ago is dropped
    when all together pass `max_bytes`; the store stays the truth. One that has outgrown its method is made anew by a
    thread of its own while the old one serves (on, where that fails), and large ones are written to files from which a
    restart reads them. Those are on `device` where they can be; what it fails is dropped, and read again for the host.
    """

    def __init__(self, store: VectorSource, snapshots: Snapshots, max_bytes: int, device: SearchDevice) -> None:
        self._store = store
        self._snapshots = snapshots
        self._max_bytes = max_bytes
        self._device = device
        self._built: OrderedDict[Space, _Built] = OrderedDict()
        self._sizes: dict[Space, int] = {}
        self._held: set[str] = set()  # tenants
        self.bytes = 0  # of all indexes built now
        self._maker = ThreadPoolExecutor(1, thread_name_prefix="cache-index")
        self._coding: Future[Nearest] | None = None  # the codes that were made last, or are being made

    def warm(self) -> None:
        """Reads the large indexes that were written, those that fit, so that no search waits for it."""
        for space in self._snapshots.spaces(self._store.encoders):
            if self.bytes < self._max_bytes:
                self._of(space)

    def search(self, space: Space, vector: npt.NDArray[np.float32], k: int) -> list[tuple[int, float]]:
        """At most `k` (sequence, cosine similarity), nearest first."""
        with self._dropping(space):
            return self._of(space).index.search(vector, k)
        return self._of(space).index.search(vector, k)

    def add(self, space: Space, sequence: int, vector: npt.NDArray[np.float32]) -> None:
        """Adds an entry that the store already keeps."""
        built = self._built.get(space)
        if built is not None:
            with self._dropping(space):
                built.index.add(_one(sequence, vector))
                self._changed(space, built, [(sequence, vector)])
            self._fit(space)

    def remove(self, space: Space, sequences: list[int]) -> None:
        """Removes entries, known or not."""
        built = self._built.get(space)
        if built is not None:
            with self._dropping(space):
                built.index.remove(np.array(sequences, np.int64))
                self._changed(space, built, [(sequence, None) for sequence in sequences])
            self._measure(space)

    def hold(self, tenant: str) -> None:
        """Writes no index of a tenant that shrinks anew until `unwrite`: its files would go then."""
        self._held.add(tenant)

    def drop(self, tenant: str) -> None:
        """Drops a tenant's indexes from memory: clusters tell of vectors that were among them."""
        for space in [space for space in self._built if space.partition.tenant == tenant]:
            del self._built[space]
            self._measure(space)

    def unwrite(self, tenant: str) -> None:
        """Removes the files of a tenant's indexes, which hold vectors that are gone; they are written anew later."""
        self._held.discard(tenant)
        self._snapshots.remove(tenant)
        self._maker.submit(self._snapshots.remove, tenant)  # what is being made or written now holds them too
        for space, built in self._built.items():
            if space.partition.tenant == tenant and built.index.costly:
                built.unwritten = max(built.unwritten, len(built.index))

    def close(self) -> None:
        """Waits for what is being made, and writes what changed."""
        self._maker.shutdown()
        self._store.settle()
        for space, built in list(self._built.items()):
            with self._dropping(space):
                self._settle(built)
                if built.unwritten and built.index.costly:
                    self._snapshots.save(space, built.index)
        self._device.close()

    @contextmanager
    def _dropping(self, space: Space) -> Iterator[None]:
        """Drops a space's index where the device fails."""
        try:
            yield
        except CudaUnavailable as error:
            structlog.get_logger("cache").warning("index on the GPU dropped", reason=str(error))
            del self._built[space]
            self._measure(space)

    def _of(self, space: Space) -> _Built:
        built = self._built.get(space)
        if built is None:
            built = self._built[space] = self._load(space)
            self._tend(space, built)
        else:
            self._settle(built)
            if built.making is None and built.searches >= _WORTH_CODES and built.index.outgrown:
                self._tend(space, built)
        built.searches += 1
        self._built.move_to_end(space)
        self._fit(space)
        return built

    def _load(self, space: Space) -> _Built:
        index = self._snapshots.load(space)
        if index is None:
            return _Built(ExactNearest.of(self._store.of(space), self._store.encoders[space.encoder]))
        kept, known = np.array(self._store.sequences(space), np.int64), index.sequences()
        gone, come = (np.setdiff1d(*both, assume_unique=True) for both in ((known, kept), (kept, known)))
        if len(gone):
            index.remove(gone)
        index.add(self._store.some(come.tolist(), space.encoder))
        return _Built(index, unwritten=len(gone) + len(come))

    def _changed(self, space: Space, built: _Built, changes: list[tuple[int, npt.NDArray[np.float32] | None]]) -> None:
        if built.index.costly:
            built.unwritten += len(changes)
        if built.making is not None:
            built.changes += changes
            self._settle(built)
        else:
            self._tend(space, built)

    def _tend(self, space: Space, built: _Built) -> None:
        """Has an index made anew, or written, where it is time to."""
        if built.index.outgrown and len(built.index) >= built.not_before:
            if len(built.index) < nearest.LARGE:
                self._code(built)
                return
            self._store.settle()  # what is in a file must not be lost to a power cut and its number given to another
            vectors = built.index.vectors()
            built.making = self._maker.submit(self._make, space, vectors)
        elif (
            built.unwritten > _CHANGED * len(built.index)
            and built.index.costly
            and space.partition.tenant not in self._held
        ):
            self._store.settle()
            built.unwritten = 0
            self._maker.submit(self._snapshots.save, space, built.index.copy())

    def _code(self, built: _Built) -> None:
        """Has an index with codes made where that pays, one at a time: spaces may take turns in memory."""
        if built.searches >= _WORTH_CODES and (self._coding is None or self._coding.done()):
            vectors = built.index.vectors()
            built.making = self._coding = self._maker.submit(ScannedNearest.of, vectors, vectors.matrix.shape[1])

    def _make(self, space: Space, vectors: Vectors) -> Nearest:
        made = DeviceNearest.made(self._device, vectors) or ClusteredNearest.of(vectors)
        self._snapshots.save(space, made)
        return made

    def _settle(self, built: _Built) -> None:
        """Takes the index that was being made, brought up to date, once it is there."""
        if built.making is None or not built.making.done():
            return
        failed = built.making.exception()
        if failed is not None:
            structlog.get_logger("cache").warning("no index made anew", reason=repr(failed))
            built.making, built.changes = None, []
            built.not_before = round(len(built.index) * (1 + _CHANGED))
            return
        built.index, built.making = built.making.result(), None
        changes, built.changes, built.unwritten = dict(built.changes), [], len(built.changes)
        if changes:
            built.index.remove(np.array(list(changes), np.int64))
        for sequence, vector in changes.items():
            if vector is not None:
                built.index.add(_one(sequence, vector))

    def _fit(self, keep: Space) -> None:
        """Measures an index that may have changed, and drops others that there is no room for beside it."""
        self._measure(keep)
        while self.bytes > self._max_bytes and len(self._built) > 1:
            oldest = next(space for space in self._built if space != keep)
            del self._built[oldest]
            self._measure(oldest)

    def _measure(self, space: Space) -> None:
        """Keeps the total, as a sum over all spaces at each change would take as long as there are spaces."""
        built = self._built.get(space)
        size = built.index.bytes if built else 0
        self.bytes += size - self._sizes.pop(space, 0)
        if built:
            self._sizes[space] = size


def _one(sequence: int, vector: npt.NDArray[np.float32]) -> Vectors:
    return Vectors(np.array([sequence], np.int64), vector[np.newaxis])
