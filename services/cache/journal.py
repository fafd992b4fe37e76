"""SQLite's write-ahead journal, read by hand: SQLite takes a damaged frame for the end and would drop what follows."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_HEADER, _FRAME = 32, 24  # bytes; source: https://sqlite.org/fileformat2.html#the_write_ahead_log
_BIG_ENDIAN = 0x377F0683


@dataclass(frozen=True, slots=True)
class Frame:
    """One page as it was written; `commits` ends a transaction, `whole` says that the check sum holds."""

    page: int
    content: bytes
    commits: bool
    whole: bool


class Journal:
    """The frames of one journal since it was last begun anew, read one at a time: a journal may be as large as its file
    (a salvage is one transaction, and so is a REINDEX)."""

    def __init__(self, path: Path, page_size: int) -> None:
        self._path = path
        self._size = _FRAME + page_size
        bytes_there = path.stat().st_size if path.exists() else 0
        self._present = max(bytes_there - _HEADER, 0) // self._size
        self._header = b""
        if bytes_there:
            with path.open("rb") as file:
                self._header = file.read(_HEADER)
        self._order = ">" if self._header[:4] == _BIG_ENDIAN.to_bytes(4, "big") else "<"

    @property
    def damaged(self) -> bool:
        """Whether a byte of it changed. A frame that is cut off is none: its transaction never ended.

        Nor is a last frame in front of what an older journal left: SQLite, which writes a frame's head before its page,
        was killed in between. Had the transaction ended, the file would end there (PRAGMA journal_size_limit = 0).
        """
        count, broken, whole = 0, 0, True
        for frame in self.frames():
            count, broken, whole = count + 1, broken + (not frame.whole), frame.whole
        if count < self._present and not whole:
            broken -= 1
        return self._present > 0 and (not self._header_holds() or broken > 0)

    def frames(self) -> Iterator[Frame]:
        """Whole frames and damaged ones, each checked from what the one before it says, so that none spoils another."""
        if not self._present:
            return
        with self._path.open("rb") as file:
            seed = struct.unpack(">II", self._header[24:32]) if self._header_holds() else None
            salts = self._header[16:24] if seed is not None else self._head(file, 0)[8:16]
            current = (number for number in range(self._present) if self._head(file, number)[8:16] == salts)
            last = max(current, default=-1)
            file.seek(_HEADER)
            for _ in range(last + 1):
                frame = file.read(self._size)
                page, size = struct.unpack(">II", frame[:8])
                holds = frame[8:16] == salts and seed is not None
                if holds and seed is not None:
                    found = _sum(frame[:8] + frame[_FRAME:], seed, self._order)
                    holds = struct.pack(">II", *found) == frame[16:24]
                seed = struct.unpack(">II", frame[16:24])
                yield Frame(page, frame[_FRAME:], size > 0, holds)

    def _header_holds(self) -> bool:
        header = self._header
        return len(header) == _HEADER and struct.pack(">II", *_sum(header[:24], (0, 0), self._order)) == header[24:32]

    def _head(self, file: BinaryIO, number: int) -> bytes:
        file.seek(_HEADER + number * self._size)
        return file.read(_FRAME)


def _sum(content: bytes, seed: tuple[int, int], order: str) -> tuple[int, int]:
    first, second = seed
    words = iter(struct.unpack(f"{order}{len(content) // 4}I", content))
    for one, other in zip(words, words, strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second
