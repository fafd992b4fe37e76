"""Whether files changed since they were read: the cheap look that comes before every reload."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

Stamp: TypeAlias = "tuple[tuple[int, int, int] | None, ...]"


def stamp(paths: Sequence[Path]) -> Stamp:
    """Time of change in nanoseconds, size and inode of each file, None for one that is absent; a few microseconds."""
    return tuple(_one(path) for path in paths)


def _one(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
