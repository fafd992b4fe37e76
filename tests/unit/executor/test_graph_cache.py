"""Graphs are kept on disk and used again only where they are whole, of this code, and their owner's."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from services.executor.decoder_session import DecoderSession
from services.executor.models import graph_cache
from services.executor.models.graph_cache import DIGEST, TENSORS, GraphCache
from services.executor.models.onnx_graph import OnnxGraph
from services.executor.models.onnx_linear import DECODER_LINEARS
from tests.unit.executor.folders import llama_folder


def logits(folder: Path, precision: str, cache: GraphCache | None, context: int = 64) -> NDArray[np.float32]:
    session = DecoderSession(folder, DECODER_LINEARS[precision], 1, context, graphs=cache)
    return session.logits_after([5, 6, 7], 0)


def never() -> OnnxGraph:
    raise AssertionError("built although it was kept")


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "graphs"


@pytest.mark.parametrize("precision", DECODER_LINEARS)
def test_kept_graphs_give_the_same_bits(tmp_path: Path, kept: Path, precision: str) -> None:
    """What is read back is what was built, and nothing is built for it."""
    folder = llama_folder(tmp_path / "model")
    cache = GraphCache(kept, precision, 0)
    built = logits(folder, precision, cache)
    digest = DecoderSession(folder, DECODER_LINEARS[precision], 1).digest
    assert cache.get(digest, 64, never).model
    np.testing.assert_array_equal(logits(folder, precision, cache), built)
    np.testing.assert_array_equal(logits(folder, precision, None), built)
    assert len(list(kept.iterdir())) == 1


def test_a_fresh_graph_is_not_held_twice(kept: Path) -> None:
    """What was just built and kept is used from the file, so that its weights are not in memory beside it."""
    weights = np.arange(64, dtype=np.float32)
    graph = GraphCache(kept, "fp32", 0).get("a model", 64, lambda: OnnxGraph(b"a graph", {"weights": weights}))
    found = graph.constants["weights"]
    np.testing.assert_array_equal(found, weights)
    assert graph.model == b"a graph"
    assert not np.shares_memory(found, weights)
    base: object = found
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)


def test_what_a_killed_writer_left_is_removed(tmp_path: Path, kept: Path) -> None:
    """Unfinished graphs of long ago go with the next that is written; those of writers that may still be at it stay."""
    for name, age_s in {".new-old": 7200, ".new-fresh": 60}.items():
        (kept / name / "graph").mkdir(parents=True)
        then = time.time() - age_s
        os.utime(kept / name, (then, then))
    logits(llama_folder(tmp_path / "model"), "fp32", GraphCache(kept, "fp32", 0))
    assert sorted(path.name for path in kept.iterdir() if path.name.startswith(".")) == [".new-fresh"]


def _cut(place: Path) -> None:
    (place / TENSORS).write_bytes((place / TENSORS).read_bytes()[:-9])


def _change(place: Path) -> None:
    content = bytearray((place / TENSORS).read_bytes())
    content[-5] ^= 1
    (place / TENSORS).write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        _cut,
        _change,
        lambda place: (place / TENSORS).write_bytes(b""),
        lambda place: (place / TENSORS).unlink(),
        lambda place: (place / DIGEST).unlink(),
        lambda place: (place / DIGEST).write_bytes(b"\xff\xfe"),
        lambda place: (place / DIGEST).write_text(""),
    ],
)
def test_a_broken_file_is_built_anew(tmp_path: Path, kept: Path, damage: Callable[[Path], object]) -> None:
    """A kept graph that is cut, changed or lacks a part is never used, and replaced by a whole one."""
    folder, cache = llama_folder(tmp_path / "model"), GraphCache(kept, "int8", 0)
    built = logits(folder, "int8", cache)
    (place,) = kept.iterdir()
    whole = (place / TENSORS).read_bytes()
    damage(place)
    np.testing.assert_array_equal(logits(folder, "int8", cache), built)
    assert (place / TENSORS).read_bytes() == whole
    assert [path.name for path in kept.iterdir()] == [place.name]


def test_owners_keep_their_own(tmp_path: Path, kept: Path) -> None:
    """Other weights, another precision and another context are graphs of their own, and none drops another's."""
    one, two = llama_folder(tmp_path / "one"), llama_folder(tmp_path / "two", seed=1)
    for folder, precision, context in ((one, "int8", 64), (one, "int8", 32), (one, "int4", 64), (two, "int8", 64)):
        logits(folder, precision, GraphCache(kept, precision, 0), context)
    assert len(list(kept.iterdir())) == 4


def test_new_code_replaces_its_owners_graph(tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph of an older version of the code is not used, and goes once its owner has a new one."""
    folder = llama_folder(tmp_path / "model")
    for context in (64, 32):
        logits(folder, "int8", GraphCache(kept, "int8", 0), context)
    before = {path.name for path in kept.iterdir()}
    monkeypatch.setattr(graph_cache, "code_version", lambda: "newer")
    logits(folder, "int8", GraphCache(kept, "int8", 0), 32)
    after = {path.name for path in kept.iterdir()}
    assert len(before & after) == 1
    assert [name.endswith("-newer") for name in after - before] == [True]


def test_small_graphs_and_unwritable_folders_are_built_each_time(tmp_path: Path) -> None:
    """Neither leaves anything behind, and neither fails."""
    folder = llama_folder(tmp_path / "model")
    logits(folder, "int8", GraphCache(tmp_path / "graphs", "int8"))
    assert not (tmp_path / "graphs").exists()
    (tmp_path / "file").write_text(json.dumps({}))
    expected = logits(folder, "int8", None)
    np.testing.assert_array_equal(logits(folder, "int8", GraphCache(tmp_path / "file", "int8", 0)), expected)
