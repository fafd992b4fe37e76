"""Keeps finished graphs on disk, so that a large model's weights are quantised once and mapped from then on."""

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray
from safetensors.numpy import save_file

from services.executor.models.checkpoint import InvalidCheckpoint, StoredTensor, digest_of, read_header
from services.executor.models.onnx_graph import OnnxGraph

GRAPH = "graph"
TENSORS, DIGEST = "graph.safetensors", "sha256"
UNFINISHED, LONGEST_WRITE_S = ".new-", 3600
WORTH_KEEPING_BYTES = 64 << 20  # what is smaller is built in the time that it takes to be read
TYPES = {"U8": np.uint8, "I8": np.int8, "I32": np.int32, "I64": np.int64, "F32": np.float32}


class GraphCache:
    """A folder of graphs by owner (whose weights, in which precision, for which context) and version of our code.

    A file is used only where its digest holds; what is cut, changed or older than the code is built anew. A new graph
    takes the place of its owner's older ones and of no other's. A folder that cannot be written costs no more than the
    time of building.

    Args:
        folder: is made when first needed.
        precision: a key of DECODER_LINEARS, of all graphs that are asked for here.
        least_bytes: constants of fewer bytes are not kept.
    """

    def __init__(self, folder: Path, precision: str, least_bytes: int = WORTH_KEEPING_BYTES) -> None:
        self._folder = folder
        self._precision = precision
        self._least_bytes = least_bytes
        self._log = structlog.get_logger("graphs")

    def get(self, digest: str, context_tokens: int, build: Callable[[], OnnxGraph]) -> OnnxGraph:
        """The graph of the checkpoint with this digest: kept, or else built and then kept.

        One that was just kept is read back, so that its weights are pages of the file, and not memory beside them.
        """
        owner = hashlib.sha256(f"{digest} {self._precision} {context_tokens}".encode()).hexdigest()[:32]
        place = self._folder / f"{owner}-{code_version()}"
        kept = self._read(place) if place.exists() else None
        if kept is not None:
            return kept
        graph = build()
        if sum(constant.nbytes for constant in graph.constants.values()) < self._least_bytes:
            return graph
        try:
            self._write(place, graph)
            self._drop_older(owner, place)
        except OSError as error:
            self._log.warning("graph cannot be kept", folder=str(self._folder), why=str(error))
            return graph
        return self._read(place) or graph

    def _read(self, place: Path) -> OnnxGraph | None:
        try:
            if digest_of(place / TENSORS) != (place / DIGEST).read_text():
                raise InvalidCheckpoint("its digest is another")
            tensors = {name: _array(stored) for name, stored in read_header(place / TENSORS).items()}
            return OnnxGraph(tensors.pop(GRAPH).tobytes(), tensors)
        except (OSError, UnicodeDecodeError, InvalidCheckpoint, KeyError) as error:
            self._log.warning("kept graph is broken and is built anew", graph=str(place), why=str(error))
            return None

    def _write(self, place: Path, graph: OnnxGraph) -> None:
        """Whole or not at all: it is written beside its place and moved there."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._drop_unfinished()
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=UNFINISHED, ignore_cleanup_errors=True) as name:
            fresh = Path(name) / place.name
            fresh.mkdir()
            tensors = {GRAPH: np.frombuffer(graph.model, np.uint8), **graph.constants}
            save_file({key: np.ascontiguousarray(value) for key, value in tensors.items()}, fresh / TENSORS)
            (fresh / DIGEST).write_text(digest_of(fresh / TENSORS))
            shutil.rmtree(place, ignore_errors=True)
            os.rename(fresh, place)  # noqa: PTH104 (fails where another process was faster, and that is as good)

    def _drop_unfinished(self) -> None:
        """What processes left that were killed as they wrote; nobody takes so long who still does."""
        for left in self._folder.glob(f"{UNFINISHED}*"):
            try:
                if time.time() - left.stat().st_mtime > LONGEST_WRITE_S:
                    shutil.rmtree(left, ignore_errors=True)
            except FileNotFoundError:  # its writer has just ended
                continue

    def _drop_older(self, owner: str, place: Path) -> None:
        for other in self._folder.glob(f"{owner}-*"):
            if other != place:
                shutil.rmtree(other, ignore_errors=True)


def code_version() -> str:
    """Digest of the files that decide what a graph is."""
    return digest_of(*sorted(Path(__file__).parent.glob("*.py")))[:16]


def _array(stored: StoredTensor) -> NDArray[Any]:
    return stored.data.view(TYPES[stored.type_name]).reshape(stored.shape)
