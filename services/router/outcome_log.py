"""How good routed answers turned out, beside what was predicted: one JSON object a line, in a file of bounded size."""

import asyncio
import json
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from services.chassis.errors import Overloaded, Unavailable
from services.router.plan import Planned

CLIENT = "client"  # the source of what came through edge from who asked


@dataclass(frozen=True, slots=True)
class Draw:
    """What had a decision scored: with which probability, None where that is not known, and whether of every model."""

    sampled: float | None = None
    explored: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """A score from 0 to 1 that `source` gave to the answer of one model of a decision; no prompt, no answer.

    `group` is that of `PromptDigest`, `unfamiliar` whether no promise covered the prompt, `bound` the caller's,
    `contested` the predicted losses of models that another bound might have had answer, `excluded` are those that the
    caller's wishes left out; the last are of `Draw`.
    """

    decision_id: str
    planned: Planned
    score: float
    source: str
    version: str  # of the predictor that planned it
    group: str
    unfamiliar: bool
    bound: float
    contested: Mapping[str, float]
    excluded: Sequence[str] = ()
    sampled: float | None = None
    explored: bool = False


class OutcomeLog:
    """Appends outcomes on a thread of its own; a full file becomes `<name>.1`, and the one before that is dropped."""

    def __init__(self, path: Path, max_bytes: int, max_waiting: int = 1000) -> None:
        """The file may reach `max_bytes`, so that both together hold at most twice that."""
        self._path, self._max_bytes, self._max_waiting = path, max_bytes, max_waiting
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="router-outcomes")
        self._waiting = 0

    async def append(self, outcome: Outcome) -> None:
        """Returns once the line is with the operating system.

        Raises:
            Overloaded: too many wait.
            Unavailable: the file cannot be written.
        """
        if self._waiting >= self._max_waiting:
            expected = f"at most {self._max_waiting}"
            raise Overloaded("router outcomes", f"{self._waiting} waiting", expected, retry_after_s=1.0)
        line = (
            json.dumps({"unix_time_s": round(time.time(), 3), **asdict(outcome), "planned": outcome.planned._asdict()})
            + "\n"
        )
        self._waiting += 1
        try:
            await asyncio.get_running_loop().run_in_executor(self._writer, self._write, line.encode())
        except OSError as error:
            found, expected = error.strerror or error, "a file that can be written, in a folder that can"
            raise Unavailable("router.outcome_log", found, expected) from error
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """Writes what waits and ends the thread."""
        await asyncio.to_thread(self._writer.shutdown)

    def _write(self, line: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._end_last_line()
        if self._path.exists() and self._path.stat().st_size + len(line) > self._max_bytes:
            self._path.replace(self._path.with_name(self._path.name + ".1"))
        with self._path.open("ab") as file:
            file.write(line)

    def _end_last_line(self) -> None:
        """Ends one that wants its end alone, and drops one that a killed process or a full disk cut off."""
        if not self._path.exists() or not (size := self._path.stat().st_size):
            return
        with self._path.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            if file.read() == b"\n":
                return
            file.seek(0)
            last = file.read().rpartition(b"\n")[2]
            if is_whole(last):
                file.write(b"\n")
                return
            file.truncate(size - len(last))
        log = structlog.get_logger("router")
        log.warning("a torn line of the outcome log is dropped", path=str(self._path), bytes=len(last))


def is_whole(line: bytes) -> bool:
    """Whether a line without its end is JSON all the same."""
    try:
        json.loads(line)
    except ValueError:  # of what is no UTF-8, too
        return False
    return True
