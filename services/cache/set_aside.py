"""Bounds what stays of damaged databases, in which prompts can be read: the newest one, for a week, until a purge."""

import glob
import os
import time
from collections.abc import Iterable
from pathlib import Path

import structlog

from services.chassis.errors import Unavailable

KEPT = "-kept"  # ends the second name of a damaged journal, as closing the database removes the first
_MOST_NS = 7 * 24 * 3600 * 10**9


class SetAside:
    """The files of one database that were set aside: `<name>.aside-<time>`, and its journal.

    Those of one time are kept, which are no larger than the database then was.
    """

    def __init__(self, path: Path) -> None:
        """Looks for them, and removes all but the newest."""
        self._path = path
        files = self._files()
        self._since_ns = max(map(_time_of, files), default=0)
        _tidy(file for file in files if _time_of(file) < self._since_ns)

    def add(self) -> Path:
        """Sets the database and its journal aside in place of the former ones; tells where the database is now."""
        former, self._since_ns = self._files(), time.time_ns()
        aside = self._path.with_name(f"{self._path.name}.aside-{self._since_ns}")
        for suffix in ("-wal", f"-wal{KEPT}", "-shm", ""):
            file = self._path.with_name(self._path.name + suffix)
            if file.exists():
                file.rename(f"{aside}{suffix.removesuffix(KEPT)}")
        _tidy(former)
        return aside

    def expire(self, now_ns: int) -> None:
        """Removes them a week after they were set aside; `now_ns` is Unix time."""
        if self._since_ns and now_ns - self._since_ns > _MOST_NS:
            self._since_ns = 0
            _tidy(self._files())

    def remove(self) -> None:
        """Removes them, and what a process left that was killed as it set one aside, beyond power cuts.

        Raises:
            Unavailable: they cannot be removed.
        """
        files = [*self._files(), *self._path.parent.glob(f"{glob.escape(self._path.name)}-wal{KEPT}")]
        try:
            _remove(files)
            if files:
                _settle(self._path.parent)
        except OSError as error:
            expected = "a folder in which files that were set aside can be removed"
            raise Unavailable("cache.database", error, expected) from error
        self._since_ns = 0

    def _files(self) -> list[Path]:
        return list(self._path.parent.glob(f"{glob.escape(self._path.name)}.aside-*"))


def _time_of(file: Path) -> int:
    """Unix time in nanoseconds by a file's name; 0 where it is named otherwise."""
    digits = file.name.rpartition(".aside-")[2].partition("-")[0].partition(".")[0]
    return int(digits) if digits.isdecimal() else 0


def _tidy(files: Iterable[Path]) -> None:
    """Removes files; trouble is logged, as the entries are safe, and tried again at the next start."""
    try:
        _remove(files)
    except OSError as error:
        structlog.get_logger("cache").warning("a file set aside was not removed", problem=str(error))


def _remove(files: Iterable[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)


def _settle(folder: Path) -> None:
    """Has what was removed from a folder stay removed after a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
