"""SQLite's write-ahead journal, read by hand: SQLite takes a damaged frame for the end and would drop what follows."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
    """The frames of one journal since it was last begun anew."""

    def __init__(self, path: Path, page_size: int) -> None:
        self._bytes = path.read_bytes() if path.exists() else b""
        self._page_size = page_size
        self._order = ">" if self._bytes[:4] == _BIG_ENDIAN.to_bytes(4, "big") else "<"

    @property
    def damaged(self) -> bool:
        """Whether a byte of it changed. A frame that is cut off is none: its transaction never ended.

        Nor is a last frame in front of what an older journal left: SQLite, which writes a frame's head before its page,
        was killed in between. Had the transaction ended, the file would end there (PRAGMA journal_size_limit = 0).
        """
        frames, present = list(self.frames()), self._frames()
        if len(frames) < len(present) and not all(frame.whole for frame in frames[-1:]):
            frames.pop()
        return bool(present) and (not self._header_holds() or not all(frame.whole for frame in frames))

    def frames(self) -> Iterator[Frame]:
        """Whole frames and damaged ones, each checked from what the one before it says, so that none spoils another."""
        header = self._bytes[:_HEADER]
        first = next(iter(self._frames()), b"")
        salts = header[16:24] if self._header_holds() else first[8:16]
        seed = struct.unpack(">II", header[24:32]) if self._header_holds() else None
        frames = self._frames()
        current = [number for number, frame in enumerate(frames) if frame[8:16] == salts]
        for number in range(max(current, default=-1) + 1):
            frame = frames[number]
            page, size = struct.unpack(">II", frame[:8])
            holds = frame[8:16] == salts and seed is not None
            if holds and seed is not None:
                found = _sum(frame[:8] + frame[_FRAME:], seed, self._order)
                holds = struct.pack(">II", *found) == frame[16:24]
            seed = struct.unpack(">II", frame[16:24])
            yield Frame(page, frame[_FRAME:], size > 0, holds)

    def _header_holds(self) -> bool:
        header = self._bytes[:_HEADER]
        return len(header) == _HEADER and struct.pack(">II", *_sum(header[:24], (0, 0), self._order)) == header[24:32]

    def _frames(self) -> list[bytes]:
        size = _FRAME + self._page_size
        starts = range(_HEADER, len(self._bytes) - size + 1, size)
        return [self._bytes[start : start + size] for start in starts]


def _sum(content: bytes, seed: tuple[int, int], order: str) -> tuple[int, int]:
    first, second = seed
    words = iter(struct.unpack(f"{order}{len(content) // 4}I", content))
    for one, other in zip(words, words, strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second
