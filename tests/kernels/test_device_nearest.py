"""The cache's large scopes on a GPU: their kernels interpreted, everything else as it is on a machine that has one."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from services.cache import answer_cache, device_nearest, nearest, search_device
from services.cache.device_nearest import MOST, DeviceNearest
from services.cache.faiss_nearest import ExactNearest
from services.cache.nearest import Vectors
from services.cache.search_device import SearchDevice
from services.cache.snapshots import Snapshots
from services.cache.vector_index import VectorIndex
from tests.kernels.driver_fake import InterpretedDriver
from tests.unit.cache.test_vector_index import HERE, Stored, unit

ROOM = 10**6
LARGE = 200  # vectors of a scope; it stays large when one of them goes


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> InterpretedDriver:
    """The one that a search device opens."""
    made = InterpretedDriver(monkeypatch)
    monkeypatch.setattr(search_device, "CudaDriver", lambda: made)
    monkeypatch.setattr(nearest, "SCANNED", LARGE - 1)
    monkeypatch.setattr(nearest, "LARGE", LARGE - 1)
    return made


def random(count: int, dimension: int, first: int = 0, copies: int = 1) -> Vectors:
    """Unit vectors, each `copies` times, of numbers that float16 tells exactly."""
    signs = np.random.default_rng(first + 1).choice([-0.125, 0.125], (-(-count // copies), dimension))
    return Vectors(np.arange(first, first + count), np.repeat(signs, copies, 0)[:count].astype(np.float32))


def assert_same(found: list[tuple[int, float]], expected: list[tuple[int, float]], stored: dict[int, Any]) -> None:
    """The same similarities, each of another vector that has it: of equal ones any may come first, or be left out."""
    assert [similarity for _, similarity in found] == [similarity for _, similarity in expected]
    assert len({sequence for sequence, _ in found}) == len(found)
    query = stored["query"]
    assert [float(stored[sequence] @ query) for sequence, _ in found] == [similarity for _, similarity in found]


def same_everywhere(index: DeviceNearest, flat: ExactNearest, known: dict[int, Any], dimension: int) -> None:
    """Asks both for what lies around a vector that they have, if any, and around one that they have not."""
    for query in (
        next(iter(known.values()), np.eye(1, dimension, dtype=np.float32)[0]),
        random(1, dimension, 1000).matrix[0],
    ):
        for k in (3, MOST):
            assert_same(index.search(query, k), flat.search(query, k), {**known, "query": query})


@pytest.mark.parametrize("copies", [1, 7])
def test_neighbours_are_those_of_a_flat_index(driver: InterpretedDriver, copies: int) -> None:
    """FAISS's own, over insertions one by one and many at once, removals from anywhere, ties, to the last vector."""
    dimension, numbers = 64, np.random.default_rng(3)
    stored = random(300, dimension, copies=copies)
    index, flat = DeviceNearest(SearchDevice(ROOM), stored), ExactNearest.of(stored, dimension)
    known = dict(zip(stored.sequences.tolist(), stored.matrix, strict=True))
    same_everywhere(index, flat, known, dimension)
    for step in range(4):
        gone = numbers.choice(sorted(known), 25, replace=False)
        come = random((1, 40)[step % 2], dimension, 500 + 50 * step, copies)
        for one in (index, flat):
            one.remove(np.append(gone, 10**6))
            one.add(come)
        known = {sequence: vector for sequence, vector in known.items() if sequence not in gone}
        known |= dict(zip(come.sequences.tolist(), come.matrix, strict=True))
        same_everywhere(index, flat, known, dimension)
    assert len(index) == len(known)
    for kept in (MOST - 3, 1, 0):
        gone = np.array(sorted(known)[: len(known) - kept], np.int64)
        index.remove(gone)
        flat.remove(gone)
        known = {sequence: vector for sequence, vector in known.items() if sequence not in gone}
        same_everywhere(index, flat, known, dimension)
    assert {"similarity_top_k", "top_k_merge"} == set(driver.launched)


def test_rounding_stays_within_what_is_told(driver: InterpretedDriver) -> None:
    """Vectors of any numbers, of a size that no block has: similarities of float16, and the neighbours' true ones."""
    matrix = np.random.default_rng(0).normal(size=(700, 37)).astype(np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    index = DeviceNearest(SearchDevice(ROOM), Vectors(np.arange(700), matrix))
    for query in matrix[::200]:
        found = index.search(query, MOST)
        expected = np.sort(matrix @ query)[: -MOST - 1 : -1]
        np.testing.assert_allclose([similarity for _, similarity in found], expected, rtol=0, atol=1e-3)
        np.testing.assert_allclose([matrix[sequence] @ query for sequence, _ in found], expected, rtol=0, atol=1e-3)


def test_more_neighbours_than_it_finds_are_refused(driver: InterpretedDriver) -> None:
    """Rather than fewer than are asked for."""
    index = DeviceNearest(SearchDevice(ROOM), random(50, 64))
    with pytest.raises(ValueError, match="k: 17, expected 1 to 16"):
        index.search(unit(0), MOST + 1)


def test_memory_is_bounded_and_given_back(driver: InterpretedDriver) -> None:
    """All indexes together stay within the bound; one that does not fit is none, and what is dropped makes room."""
    stored = random(400, 64)
    device = SearchDevice(150_000)
    first = DeviceNearest.made(device, stored)
    assert first is not None
    assert device.bytes == sum(len(memory) for memory in driver.held.values()) >= 600 * 128
    with capture_logs() as logs:
        assert DeviceNearest.made(device, stored) is None
    assert "gpu_vector_bytes: " in logs[0]["reason"]
    del first
    assert device.bytes == len(driver.held) == 0
    second = DeviceNearest.made(device, stored)
    device.close()
    del second
    assert driver.closed


@pytest.mark.parametrize("wrong", ["scores", "ids"])
def test_a_gpu_that_is_wrong_is_not_used(
    driver: InterpretedDriver, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    """Before it serves, an index must find the host's neighbours: a kernel never run on this GPU is not trusted."""
    download = driver.download

    def spoilt(address: int, into: Any) -> None:
        download(address, into)
        into += 1 if into.dtype == (np.float32 if wrong == "scores" else np.int32) else 0

    monkeypatch.setattr(driver, "download", spoilt)
    with capture_logs() as logs:
        assert DeviceNearest.made(SearchDevice(ROOM), random(400, 64)) is None
    assert "the GPU finds other neighbours" in logs[0]["reason"]
    assert not driver.held


@pytest.fixture
def scope(driver: InterpretedDriver, tmp_path: Path) -> Iterator[tuple[VectorIndex, Stored]]:
    """A scope that has just become large."""
    stored = Stored()
    stored.of_space[HERE] = {number: unit(number) for number in range(LARGE)}
    index = VectorIndex(stored, Snapshots(tmp_path), 10**9, SearchDevice(ROOM))
    yield index, stored
    index.close()


def on_gpu(index: VectorIndex) -> bool:
    """Searches once what is being made is there, until nothing is."""
    index.search(HERE, unit(0), 1)
    while making := index._built[HERE].making:
        making.result()
        index.search(HERE, unit(0), 1)
    return isinstance(index._built[HERE].index, DeviceNearest)


def right(index: VectorIndex, stored: Stored) -> bool:
    """Whether each of some vectors is its own nearest, and those that are gone are no one's."""
    known = stored.of_space[HERE]
    found = [index.search(HERE, known[number], MOST) for number in list(known)[::70]]
    return [near[0][0] for near in found] == list(known)[::70] and all(
        one in known for near in found for one, _ in near
    )


def test_a_large_scope_goes_to_the_gpu_and_grows_there(scope: Any, driver: InterpretedDriver) -> None:
    """Past the limit, with what changed while it was made; when it is full, into another, and the former's memory is
    given back."""
    index, stored = scope
    known = stored.of_space[HERE]
    with capture_logs() as logs:
        index.search(HERE, unit(0), 1)
        for number in range(LARGE, 2 * LARGE):
            known[number] = unit(number)
            index.add(HERE, number, known[number])
            if number % 3 == 0:
                del known[number - LARGE]
                index.remove(HERE, [number - LARGE])
            assert number % 90 or right(index, stored)
            assert index._built[HERE].making is None or number % 9 or on_gpu(index), (
                "there is room for those that come while another is made"
            )
        assert on_gpu(index)
        assert right(index, stored)
    assert {line["event"] for line in logs} == {"large scope is searched on the GPU"}, "none is dropped as it is full"
    assert len(driver.held) == 6, "memory of one index"
    assert index.bytes < 10**6


def test_a_restart_has_it_on_the_gpu_again(scope: Any, driver: InterpretedDriver, tmp_path: Path) -> None:
    """From its file, which is exact on the host until the GPU has taken over, with what the store gained and lost."""
    index, stored = scope
    assert on_gpu(index)
    index.close()
    driver.closed = False
    known = stored.of_space[HERE]
    for number in range(LARGE, LARGE + 30):
        known[number] = unit(number)
        del known[number - LARGE]
    reads = stored.reads
    again = VectorIndex(stored, Snapshots(tmp_path), 10**9, SearchDevice(ROOM))
    again.warm()
    assert right(again, stored)
    assert on_gpu(again)
    assert right(again, stored)
    assert stored.reads == reads
    again.close()


@pytest.mark.parametrize("work", ["search", "add", "remove"])
def test_a_gpu_that_fails_costs_no_answer(scope: Any, driver: InterpretedDriver, work: str) -> None:
    """Its index is dropped with a word in the log, and the host serves from what the store has."""
    index, stored = scope
    known = stored.of_space[HERE]
    assert on_gpu(index)
    driver.broken = True
    with capture_logs() as logs:
        if work == "add":
            known[900] = unit(900)
            index.add(HERE, 900, known[900])
        elif work == "remove":
            del known[0]
            index.remove(HERE, [0])
        assert right(index, stored)
        assert not on_gpu(index)
    assert right(index, stored)
    assert [line["event"] for line in logs] == ["index on the GPU dropped", "large scope is searched by clusters"]


def test_without_a_gpu_clusters_are_made_and_the_log_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """No driver, as on the machine of the tests; no Triton; and no memory of it to be taken."""
    stored = random(400, 64)
    with capture_logs() as logs:
        assert DeviceNearest.made(SearchDevice(ROOM), stored) is None
        assert DeviceNearest.made(SearchDevice(0), stored) is None
    driver = InterpretedDriver(monkeypatch)
    monkeypatch.setattr(search_device, "CudaDriver", lambda: driver)
    monkeypatch.setitem(sys.modules, "kernels.aot", None)
    with capture_logs() as missing:
        assert DeviceNearest.made(SearchDevice(ROOM), stored) is None
    reasons = [line["reason"] for line in logs + missing]
    assert "libcuda.so.1" in reasons[0]
    assert reasons[1] == "gpu_vector_bytes is 0"
    assert "kernels.aot" in reasons[2]


def test_what_a_search_may_ask_for_is_what_a_lookup_asks() -> None:
    """The cache's own number of neighbours is within it."""
    assert answer_cache._NEIGHBOURS <= device_nearest.MOST
