"""Nearest neighbours: the same as by hand, within a partition, in bounded memory."""

import json
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from services.cache import faiss_nearest, nearest
from services.cache.entry import Partition, Space
from services.cache.faiss_nearest import ClusteredNearest, ExactNearest, ScannedNearest
from services.cache.nearest import Vectors
from services.cache.search_device import SearchDevice
from services.cache.snapshots import Snapshots
from services.cache.vector_index import VectorIndex

DIMENSION = 8
DIGEST = "ab" * 32
HERE = Space(Partition("t", b"h" * 16), DIGEST)
FREE = 10**9
NONE = SearchDevice(0)


def unit(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).standard_normal(DIMENSION).astype("<f4")
    return np.asarray(vector / np.linalg.norm(vector), "<f4")


class Stored:
    """What a store would hold, and how often a partition was read."""

    def __init__(self, dimension: int = DIMENSION) -> None:
        self.of_space: dict[Space, dict[int, np.ndarray]] = {}
        self.reads = 0
        self.encoders = {DIGEST: dimension, "cd" * 32: dimension}

    def of(self, space: Space) -> Vectors:
        self.reads += 1
        return self.some(self.sequences(space), space.encoder)

    def sequences(self, space: Space) -> list[int]:
        return list(self.of_space.get(space, {}))

    def some(self, sequences: list[int], encoder: str) -> Vectors:
        known = {
            number: one
            for space, kept in self.of_space.items()
            if space.encoder == encoder
            for number, one in kept.items()
        }
        matrix = np.array([known[number] for number in sequences], np.float32).reshape(max(len(sequences), 1), -1)
        return Vectors(np.array(sequences, np.int64), matrix)

    def settle(self) -> None:
        """Memory survives no power cut."""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Indexes count as large from 200 vectors on, and have no codes before."""
    monkeypatch.setattr(nearest, "SCANNED", 200)
    monkeypatch.setattr(nearest, "LARGE", 200)


def filled(stored: Stored, count: int) -> dict[int, np.ndarray]:
    known = stored.of_space[HERE] = {number: unit(number) for number in range(count)}
    return known


def recall(index: VectorIndex, known: dict[int, np.ndarray], queries: int = 50) -> float:
    """The share of queries, near to known vectors, whose nearest is found."""
    numbers, matrix = list(known), np.array(list(known.values()))
    found = 0
    for seed in range(queries):
        query = known[numbers[seed * 7 % len(numbers)]] + 0.1 * unit(10_000 + seed)
        query /= np.linalg.norm(query)
        near = index.search(HERE, query.astype(np.float32), 3)
        assert {number for number, _ in near} <= known.keys()
        found += near[0][0] == numbers[int(np.argmax(matrix @ query))]
    return found / queries


def made(index: VectorIndex) -> bool:
    """Searches until the index that is being made has taken over."""
    for _ in range(1000):
        index.search(HERE, unit(0), 1)
        if index._built[HERE].index.costly:
            return True
        time.sleep(0.005)
    return False


steps = st.lists(st.tuples(st.sampled_from("asr"), st.integers(0, 2), st.integers(0, 15)), max_size=60)


@settings(max_examples=60, deadline=None)
@given(steps=steps, max_bytes=st.sampled_from([0, 9000, 10**6]))
def test_neighbours_by_hand(steps: list[tuple[str, int, int]], max_bytes: int) -> None:
    """After any additions and removals a search finds what a dot product over the partition, halved, finds."""
    stored = Stored()
    index = VectorIndex(stored, Snapshots(Path("nowhere")), max_bytes, NONE)
    for action, where, number in steps:
        space = Space(Partition("t", bytes([where])), DIGEST)
        known = stored.of_space.setdefault(space, {})
        if action == "a" and number not in known:
            known[number] = unit(number)
            index.add(space, number, known[number])
        elif action == "r":
            known.pop(number, None)
            index.remove(space, [number])
        elif action == "s":
            query = unit(100 + number)
            halved = {s: v.astype(np.float16).astype(np.float32) for s, v in known.items()}
            expected = sorted(((float(v @ query), s) for s, v in halved.items()), reverse=True)[:3]
            found = index.search(space, query, 3)
            assert [s for s, _ in found] == [s for _, s in expected]
            assert [c for _, c in found] == pytest.approx([c for c, _ in expected], abs=1e-6)
        assert index.bytes == sum(built.index.bytes for built in index._built.values())


def test_an_addition_costs_the_same_beside_many_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes of one index are looked at, and not those of every partition that was searched."""
    stored = Stored()
    index = VectorIndex(stored, Snapshots(Path("nowhere")), FREE, NONE)
    for number in range(300):
        space = Space(Partition("t", number.to_bytes(2)), DIGEST)
        stored.of_space[space] = {}
        index.search(space, unit(0), 1)
    looked: list[ExactNearest] = []
    measured = ExactNearest.bytes.fget  # type: ignore[attr-defined]

    def look(one: ExactNearest) -> int:
        looked.append(one)
        return int(measured(one))

    monkeypatch.setattr(ExactNearest, "bytes", property(look))
    index.add(space, 1, unit(1))
    assert len(looked) == 1


def test_memory_is_bounded() -> None:
    """The partition searched longest ago is dropped, and read again when it is needed."""
    stored = Stored()
    index = VectorIndex(stored, Snapshots(Path("nowhere")), 2 * (4096 + 10 * (2 * DIMENSION + 8)), NONE)
    spaces = [Space(Partition("t", bytes([number])), DIGEST) for number in range(3)]
    for space in spaces:
        stored.of_space[space] = {number: unit(number) for number in range(10)}
    for space in spaces:
        index.search(space, unit(0), 1)
    assert index.bytes <= 2 * (4096 + 10 * (2 * DIMENSION + 8))
    for space, reads in ((spaces[2], 3), (spaces[1], 3), (spaces[0], 4)):
        index.search(space, unit(0), 1)
        assert stored.reads == reads


@pytest.mark.usefixtures("small")
def test_a_large_partition_changes_its_method(tmp_path: Path) -> None:
    """Past the limit an index by clusters takes over, with what was added and removed while it was made."""
    stored = Stored()
    known = filled(stored, 199)
    index = VectorIndex(stored, Snapshots(tmp_path), FREE, NONE)
    index.search(HERE, unit(0), 1)
    assert not index._built[HERE].index.costly
    for number in range(199, 260):
        known[number] = unit(number)
        index.add(HERE, number, known[number])
        del known[number - 150]
        index.remove(HERE, [number - 150, 5_000])
    assert made(index)
    assert len(index._built[HERE].index) == len(known)
    assert recall(index, known) >= 0.98
    index.close()


def topics(count: int, dimension: int = 64) -> np.ndarray:
    """Vectors of which sixty at a time are about the same."""
    rng = np.random.default_rng(5)
    spread = np.repeat(rng.standard_normal((count // 60 + 1, dimension)), 60, 0)[:count]
    matrix = (spread + 0.8 * rng.standard_normal((count, dimension))).astype(np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    rng.shuffle(matrix)
    return matrix


def test_a_partition_of_some_size_has_codes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are made behind its back once it is searched often, find the same, leave no file, give way to clusters."""
    monkeypatch.setattr(nearest, "LARGE", 2300)
    stored, matrix = Stored(64), topics(2400)
    stored.of_space[HERE] = dict(enumerate(matrix[:2010]))
    index = VectorIndex(stored, Snapshots(tmp_path), FREE, NONE)

    def kind() -> type:
        index._maker.submit(len, "").result()
        index.search(HERE, matrix[0], 1)
        return type(index._built[HERE].index)

    def near() -> list[list[tuple[int, float]]]:
        return [index.search(HERE, vector, 16) for vector in matrix[:1960:10]]

    for _ in range(50):
        index.search(HERE, matrix[0], 1)
    assert kind() is ExactNearest
    before = near()
    assert kind() is ScannedNearest
    exact = ExactNearest.of(stored.of(HERE), 64)
    assert index._built[HERE].index.bytes == exact.bytes + 2010 * 16
    weighed_all = 0

    def all_of_them(one: ExactNearest, vector: np.ndarray, k: int) -> list[tuple[int, float]]:
        nonlocal weighed_all
        weighed_all += 1
        return exact.search(vector, k)

    with monkeypatch.context() as patch:
        patch.setattr(ExactNearest, "search", all_of_them)
        assert sum(one == other for one, other in zip(before, near(), strict=True)) >= 0.98 * len(before)
    assert weighed_all < 0.1 * len(before)
    assert list(tmp_path.iterdir()) == []
    for number in range(2010, 2330):
        index.add(HERE, number, matrix[number])
    assert kind() is ClusteredNearest
    index.close()


def test_partitions_that_take_turns_in_memory_have_no_codes_made() -> None:
    """What is dropped before it was searched often costs no more than reading it, and nothing waits to be made."""
    stored = Stored(64)
    spaces = [Space(Partition("t", bytes([number])), DIGEST) for number in range(6)]
    for space in spaces:
        stored.of_space[space] = dict(enumerate(topics(2100)))
    index = VectorIndex(stored, Snapshots(Path("nowhere")), 3 * 2100 * 150, NONE)
    for _ in range(5):
        for space in spaces:
            index.search(space, stored.of_space[space][0], 16)
    assert stored.reads == 30
    assert index._coding is None
    index._maker.submit(time.sleep, 0.3)
    for space in spaces[:3] * 200:
        index.search(space, stored.of_space[space][0], 16)
    assert index._maker._work_queue.qsize() <= 1
    index.close()


def test_neighbours_about_to_be_dropped_hide_none_of_a_template() -> None:
    """Whether codes can tell those wanted is judged by those that are still there."""
    rng = np.random.default_rng(0)

    def about(centre: np.ndarray, count: int, spread: float) -> np.ndarray:
        near = centre * np.sqrt(384) + spread * rng.standard_normal((count, 384))
        return np.asarray(near / np.linalg.norm(near, axis=1, keepdims=True), np.float32)

    asked, aside = about(np.zeros(384), 2, 1.0)
    aside = 0.8 * asked + 0.6 * aside
    matrix = np.concatenate(
        (about(asked, 200, 0.2), about(aside / np.linalg.norm(aside), 1500, 0.15), about(np.zeros(384), 2000, 1.0))
    )
    index = scanned(Vectors(np.arange(3700), matrix))
    index.remove(np.arange(200))
    right = 200 + np.argsort(-(matrix[200:] @ asked))[:16]
    assert len({one for one, _ in index.search(asked, 16)} & {*right.tolist()}) >= 15


def test_codes_are_cleared_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """FAISS's own check of a place within its codes counts bytes: vectors far beyond have to be cleared as well."""
    monkeypatch.setattr(faiss_nearest, "_WEIGHED", 8)
    monkeypatch.setattr(faiss_nearest, "_ALIKE", -1.0)
    matrix = topics(17_000)
    index = scanned(Vectors(np.arange(17_000), matrix))
    index.remove(np.arange(16_700, 17_000))
    index.add(Vectors(np.arange(20_000, 20_300), matrix[:300]))
    assert [{one for one, _ in index.search(matrix[at], 2)} for at in range(300)] == [
        {at, 20_000 + at} for at in range(300)
    ]


@pytest.mark.usefixtures("small")
def test_an_index_that_cannot_be_made_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory or disk does not do, searches, additions and removals go on; it is tried again a tenth later."""
    stored, tries = Stored(), 0
    known = filled(stored, 210)
    index = VectorIndex(stored, Snapshots(tmp_path), FREE, NONE)

    def too_large(_: Vectors) -> ClusteredNearest:
        nonlocal tries
        tries += 1
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(ClusteredNearest, "of", too_large)
        index.search(HERE, unit(0), 1)
        index._maker.submit(len, "").result()
        for number in range(210, 220):
            known[number] = unit(number)
            index.add(HERE, number, known[number])
            del known[number - 210]
            index.remove(HERE, [number - 210])
            assert recall(index, known, 3) == 1.0
    assert tries == 1
    for number in range(220, 245):
        known[number] = unit(number)
        index.add(HERE, number, known[number])
    assert made(index)
    assert recall(index, known) >= 0.98
    index.close()


@pytest.mark.usefixtures("small")
def test_a_restart_reads_what_was_made(tmp_path: Path) -> None:
    """The index comes from its file, brought up to date with what the store gained and lost since."""
    stored = Stored()
    known = filled(stored, 300)
    index = VectorIndex(stored, Snapshots(tmp_path), FREE, NONE)
    assert made(index)
    index.close()
    for number in range(300, 320):
        known[number] = unit(number)
        del known[number - 300]
    reads = stored.reads
    again = VectorIndex(stored, Snapshots(tmp_path), FREE, NONE)
    again.warm()
    assert again._built[HERE].index.costly
    assert recall(again, known) >= 0.98
    assert stored.reads == reads
    again.close()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("loaded", [True, False], ids=["in memory", "not in memory"])
def test_no_file_keeps_what_a_purge_took(tmp_path: Path, loaded: bool) -> None:
    """A tenant's files go at once, of indexes that are not in memory too; what is left is written anew later."""
    stored = Stored()
    known = filled(stored, 300)
    index = VectorIndex(stored, Snapshots(tmp_path), FREE, NONE)
    assert made(index)
    if not loaded:
        index.close()
        index = VectorIndex(stored, Snapshots(tmp_path), FREE, NONE)
    del known[0]
    index.remove(HERE, [0])
    index.unwrite("another")
    assert list(tmp_path.iterdir())
    index.unwrite(HERE.partition.tenant)
    assert list(tmp_path.iterdir()) == []
    index.close()
    again = Snapshots(tmp_path).load(HERE)
    assert (again is not None) == loaded
    assert again is None or 0 not in again.sequences()


@pytest.mark.usefixtures("small")
def test_what_a_killed_process_was_writing_goes(tmp_path: Path) -> None:
    """A file that no note names holds vectors that no purge would find; the start removes it, and keeps the others."""
    stored = Stored()
    filled(stored, 300)
    index = VectorIndex(stored, Snapshots(tmp_path), FREE, NONE)
    assert made(index)
    index.close()
    whole = sorted(path.name for path in tmp_path.iterdir())
    for name in ("another-a.clusters", whole[0].replace("-a.", "-b."), "another.fresh"):
        (tmp_path / name).write_bytes(b"half")
    assert len(list(tmp_path.iterdir())) == 5
    assert Snapshots(tmp_path).spaces(stored.encoders) == [HERE]
    assert sorted(path.name for path in tmp_path.iterdir()) == whole


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("held", [True, False])
def test_an_index_that_a_purge_empties_is_not_written_over_and_over(tmp_path: Path, held: bool) -> None:
    """Its files would go at the purge's end; from then on it is written as any other."""
    stored = Stored()
    filled(stored, 300)
    index = VectorIndex(stored, Snapshots(tmp_path), FREE, NONE)
    assert made(index)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    if held:
        index.hold(HERE.partition.tenant)
    for first in range(0, 200, 50):
        index.remove(HERE, [*range(first, first + 50)])
    index._maker.submit(int).result()
    assert ({path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before) is held
    index.unwrite(HERE.partition.tenant)
    assert list(tmp_path.iterdir()) == []
    index.remove(HERE, [*range(200, 250)])
    index._maker.submit(int).result()
    assert list(tmp_path.iterdir())
    index.close()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("which", ["*.clusters", "*.json"])
def test_any_damaged_byte_of_a_file_is_noticed(tmp_path: Path, which: str) -> None:
    """Whichever byte of a file changes, the index is made anew from the store, and finds the same."""
    stored = Stored()
    known = filled(stored, 300)
    index = VectorIndex(stored, Snapshots(tmp_path), FREE, NONE)
    assert made(index)
    index.close()
    (path,) = tmp_path.glob(which)
    whole = path.read_bytes()
    for place in np.random.default_rng(1).choice(len(whole), 20, replace=False):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(place) % 8
        path.write_bytes(damaged)
        assert Snapshots(tmp_path).load(HERE) is None or which == "*.json"
        again = VectorIndex(stored, Snapshots(tmp_path), FREE, NONE)
        assert recall(again, known, 5) == 1.0
        again._maker.shutdown()
        for left in tmp_path.iterdir():
            left.unlink()
        path.write_bytes(whole)


def scanned(stored: Vectors) -> ScannedNearest:
    return ScannedNearest.of(stored, stored.matrix.shape[1])


with_codes = pytest.mark.parametrize("of", [scanned, ClusteredNearest.of], ids=["exact", "clusters"])
Made = Callable[[Vectors], ScannedNearest | ClusteredNearest]


@with_codes
def test_what_is_removed_is_not_found_by_its_code(of: Made) -> None:
    """Codes are dropped many at once: until then a search passes over them, and finds what is behind them."""
    matrix = np.array([unit(number) for number in range(1000)])
    index = of(Vectors(np.arange(1000), matrix))
    order = np.argsort(-(matrix @ matrix[0]), kind="stable")
    for place in range(400):
        ((found, _),) = index.search(matrix[0], 1)
        assert found in order[place : place + 5]  # a code of eight dimensions tells little
        index.remove(order[place : place + 1])
    assert sorted(index.sequences().tolist()) == sorted(order[400:].tolist())
    assert len(index) == 600


@with_codes
def test_codes_stay_right_as_vectors_come_and_go(monkeypatch: pytest.MonkeyPatch, of: Made) -> None:
    """What takes the place of a removed code is no mixture of both: by its code each vector is among its best few."""
    monkeypatch.setattr(faiss_nearest, "_WEIGHED", 8)
    monkeypatch.setattr(faiss_nearest, "_MOST_WEIGHED", 8)
    monkeypatch.setattr(faiss_nearest, "_ALIKE", -1.0)
    rng = np.random.default_rng(3)
    matrix = rng.standard_normal((8000, 64)).astype(np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    index = of(Vectors(np.arange(2000), matrix[:2000]))
    there = list(range(2000))
    for start in range(2000, 8000, 300):
        rng.shuffle(there)
        index.remove(np.array(there[:300]))
        added = np.arange(start, start + 300)
        index.add(Vectors(added, matrix[added]))
        there = [*there[300:], *added.tolist()]
    found = [index.search(matrix[one], 1)[0][0] == one for one in there]
    assert np.mean(found) >= 0.99


@with_codes
def test_a_sequence_may_come_back_with_another_vector(of: Made) -> None:
    """As an entry does that is embedded anew: the code of before goes first."""
    index = of(Vectors(np.arange(300), np.array([unit(number) for number in range(300)])))
    index.remove(np.array([7]))
    index.add(Vectors(np.array([7]), unit(5_000)[np.newaxis]))
    ((found, similarity),) = index.search(unit(5_000), 1)
    assert found == 7
    assert similarity == pytest.approx(1.0, abs=1e-3)
    assert index.search(unit(7), 1)[0][0] != 7
    assert index.copy().search(unit(5_000), 1)[0][0] == 7


@with_codes
def test_prompts_of_one_template_are_told_apart(of: Made) -> None:
    """Codes cannot tell a thousand vectors of one place from one another: then as many as are alike are weighed."""
    rng = np.random.default_rng(2)
    spread = rng.standard_normal((3000, 64)).astype(np.float32)
    template = rng.standard_normal(64) + 0.1 * rng.standard_normal((1000, 64))
    matrix = np.concatenate((spread, template.astype(np.float32)))
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    index = of(Vectors(np.arange(4000), matrix))
    for asked in range(3000, 4000, 50):
        near = [found for found, _ in index.search(matrix[asked], 8)]
        assert near[0] == asked
        assert len({*near} & {*np.argsort(-(matrix @ matrix[asked]))[:8].tolist()}) >= 7


def test_a_file_of_clusters_is_no_index_of_the_release_before(tmp_path: Path) -> None:
    """That one would take the codes for the vectors, as FAISS reads the first index of a file."""
    index = ClusteredNearest.of(Vectors(np.arange(300), np.array([unit(number) for number in range(300)])))
    index.write(tmp_path / "index")
    with pytest.raises(RuntimeError, match="not recognized"):
        ExactNearest.read(tmp_path / "index", 300)
    ExactNearest.of(Vectors(np.arange(1), unit(0)[np.newaxis]), DIMENSION).write(tmp_path / "exact")
    with pytest.raises(RuntimeError, match="no file of clusters"):
        ClusteredNearest.read(tmp_path / "exact", 1)


@pytest.mark.usefixtures("small")
def test_an_index_of_another_release_is_made_anew(tmp_path: Path) -> None:
    """A kind of file that is not known is no index: the store has all that it held."""
    stored = Stored()
    known = filled(stored, 300)
    index = VectorIndex(stored, Snapshots(tmp_path), FREE, NONE)
    assert made(index)
    index.close()
    (file,), (note,) = tmp_path.glob("*.clusters"), tmp_path.glob("*.json")
    text = json.loads(note.read_text())[0].replace(".clusters", ".faiss")
    note.write_text(json.dumps([text, zlib.crc32(text.encode())]))
    file.rename(file.with_suffix(".faiss"))
    with capture_logs() as logs:
        again = VectorIndex(stored, Snapshots(tmp_path), FREE, NONE)
        again.warm()
    assert [line["problem"] for line in logs if "problem" in line] == ["it is of another release"]
    assert recall(again, known, 5) == 1.0
    again.close()


@pytest.mark.usefixtures("small")
def test_files_of_another_encoder_are_removed(tmp_path: Path) -> None:
    """What belongs to another space is neither read nor left lying about."""
    stored = Stored()
    filled(stored, 300)
    index = VectorIndex(stored, Snapshots(tmp_path), FREE, NONE)
    assert made(index)
    index.close()
    assert Snapshots(tmp_path).load(Space(HERE.partition, "cd" * 32)) is None
    assert Snapshots(tmp_path).spaces([DIGEST, "cd" * 32]) == [HERE]
    assert Snapshots(tmp_path).spaces(["cd" * 32]) == []
    assert not list(tmp_path.iterdir())
