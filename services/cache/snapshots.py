"""Files of large indexes, so that a restart reads what took a minute to make; one that is damaged is made anew."""

import contextlib
import hashlib
import json
import os
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from services.cache.entry import Partition, Space
from services.cache.faiss_nearest import ClusteredNearest, ExactNearest
from services.cache.nearest import Nearest

_PIECE = 1 << 22
_KINDS: Mapping[str, type[ExactNearest] | type[ClusteredNearest]] = {
    f".{kind.kind}": kind for kind in (ExactNearest, ClusteredNearest)
}


@dataclass(frozen=True, slots=True)
class _Note:
    """What is known of a file: its name, its check sum, whose vectors it holds, and how it was made."""

    file: str
    check: int
    tenant: str
    fingerprint: str
    encoder: str
    made_for: int


class Snapshots:
    """One file of an index by space, and a note beside it that names the file and its check sum.

    A note is replaced in one step once its file is whole, so that a process killed at any moment leaves the former pair
    or the new one. Snapshots may be older than the entries: who reads one brings it up to date.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def spaces(self, encoders: Collection[str]) -> list[Space]:
        """Those by these encoders of which there is a snapshot; any other file is removed.

        Files that no note names are those that a killed process was writing. Not while an index is being written.
        """
        found, named = [], set()
        for path in self._folder.glob("*.json"):
            note = _read(path)
            if note is not None and note.encoder in encoders:
                found.append(Space(Partition(note.tenant, bytes.fromhex(note.fingerprint)), note.encoder))
                named |= {path.name, note.file}
        for path in self._folder.glob("*"):
            if path.name not in named:
                _unlink(path)
        return found

    def load(self, space: Space) -> ExactNearest | ClusteredNearest | None:
        """The index as it was written; None where there is none that is whole."""
        name = _name(space)
        note = _read(self._folder / f"{name}.json")
        if note is None:
            return None
        path = self._folder / note.file
        kind = _KINDS.get(path.suffix)
        try:
            if kind and _check(path) == note.check:
                return kind.read(path, note.made_for)
            problem = "its check sum differs" if kind else "it is of another release"
        except (OSError, RuntimeError) as error:
            problem = str(error)
        structlog.get_logger("cache").warning("index made anew", file=str(path), problem=problem)
        self._remove(name)
        return None

    def save(self, space: Space, index: Nearest) -> None:
        """Writes an index; trouble with the disk is logged, as the entries are safe without it."""
        name, (partition, encoder) = _name(space), space
        note = self._folder / f"{name}.json"
        former = _read(note)
        turn = "b" if former and Path(former.file).stem.endswith("-a") else "a"
        path = self._folder / f"{name}-{turn}.{index.kind}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            index.write(path)
            made = _Note(
                path.name, _check(path), partition.tenant, partition.fingerprint.hex(), encoder, index.made_for
            )
            _replace(note, made)
            if former and former.file != path.name:
                (self._folder / former.file).unlink(missing_ok=True)
        except (OSError, RuntimeError) as error:
            _unlink(path)
            structlog.get_logger("cache").warning("index not written", file=str(path), problem=str(error))

    def remove(self, tenant: str) -> None:
        """Removes the files of all indexes of a tenant."""
        for path in self._folder.glob("*.json"):
            note = _read(path)
            if note is None or note.tenant == tenant:
                self._remove(path.stem)

    def _remove(self, name: str) -> None:
        for path in self._folder.glob(f"{name}*"):
            _unlink(path)


def _unlink(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _name(space: Space) -> str:
    (tenant, fingerprint), encoder = space
    digest = hashlib.sha256()
    for part in (tenant.encode("utf-8", "surrogatepass"), encoder.encode(), fingerprint):
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:32]


def _check(path: Path) -> int:
    found = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            found = zlib.crc32(piece, found)
    return found


def _replace(path: Path, note: _Note) -> None:
    values = [note.file, note.check, note.tenant, note.fingerprint, note.encoder, note.made_for]
    text = json.dumps(values)
    fresh = path.with_suffix(".fresh")
    fresh.write_text(json.dumps([text, zlib.crc32(text.encode())]))
    os.replace(fresh, path)  # noqa: PTH105 - Path.replace, but with the name that says what it promises


def _read(path: Path) -> _Note | None:
    """The note, None where there is none that is whole."""
    try:
        text, check = json.loads(path.read_text())
        return _Note(*json.loads(text)) if zlib.crc32(text.encode()) == check else None
    except (OSError, ValueError, TypeError, AttributeError):
        return None
