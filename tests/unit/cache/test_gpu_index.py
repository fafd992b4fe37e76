"""Where FAISS has GPUs, which no machine of the tests does: what is asked of them, by names that FAISS publishes."""

import inspect
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from structlog.testing import capture_logs

from services.cache.faiss_nearest import ClusteredNearest
from services.cache.nearest import Vectors


def vectors(count: int) -> Vectors:
    matrix = np.random.default_rng(0).standard_normal((count, 8), dtype=np.float32)
    return Vectors(np.arange(count), matrix / np.linalg.norm(matrix, axis=1, keepdims=True))


def test_clusters_are_found_on_gpus_and_searched_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flat index that finds the clusters goes to all GPUs, the log says so, and what is kept needs none."""
    published, asked = inspect.signature(faiss.index_cpu_to_all_gpus), []

    def to_all_gpus(*args: Any, **named: Any) -> Any:
        asked.append(published.bind(*args, **named).arguments["index"])
        return asked[-1]

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 2)
    monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", to_all_gpus)
    stored = vectors(400)
    with capture_logs() as logs:
        made = ClusteredNearest.of(stored)
    assert [type(one) for one in asked] == [faiss.IndexFlatIP]
    assert [line["gpus"] for line in logs] == [2]
    made.write(tmp_path / "index")
    again = ClusteredNearest.read(tmp_path / "index", made.made_for)
    assert again.search(stored.matrix[7], 1)[0][0] == 7


def test_no_gpu_is_asked_for_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index by clusters is made on the CPU, without a word."""
    monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", None)
    with capture_logs() as logs:
        assert len(ClusteredNearest.of(vectors(400))) == 400
    assert logs == []
