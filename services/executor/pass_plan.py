"""How many tokens of whom go into the next pass."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from services.executor.decoder_session import Chunk

READ_TOKENS_ALONE = 256  # of prompts in one pass
READ_TOKENS_BESIDE = 64  # while others wait for their next token
READ_LEAST = 8  # of one prompt, where many share a pass
MOST_PADDED = 1024  # rows times the longest chunk: what attention lays out


class Task(Protocol):
    """One request, as far as scheduling goes; its fields are the scheduler's until it has ended."""

    tenant: str
    prompt_size: int
    tokens: list[int]  # the prompt, then what was generated
    computed: int  # how many of them memory holds
    slot: int | None
    turn_began: int  # how many tokens there were when it got its slot
    read_at: int  # the pass in which tokens of its prompt last took part

    @property
    def resumed(self) -> bool:
        """Whether it has had a slot before."""

    def admitted(self) -> None:
        """Notes that it has a slot now."""


T = TypeVar("T", bound=Task)


def plan(running: Sequence[T], capacity: int, passes: int) -> list[tuple[T, Chunk]]:
    """A token of every task that is behind its prompt, and as much of the prompts as is good beside these.

    One that resumes computes what it had generated as it did at first, a token a pass, and so to the same last bit.

    Args:
        running: tasks with a slot.
        capacity: tokens that fit into a slot. All chunks of a pass are as wide as the longest, so none may be longer
            than what any of their slots has room for.
        passes: the number of this pass.
    """
    decoding = [task for task in running if _unread(task) <= 1]
    reading = [task for task in running if _unread(task) > 1]
    budget = READ_TOKENS_BESIDE if decoding else READ_TOKENS_ALONE
    reading.sort(key=lambda task: task.read_at)
    reading = sorted(reading[: budget // READ_LEAST], key=_unread)
    rows = max((task.slot for task in running if task.slot is not None), default=0) + 1
    if passes % 2 and reading:  # who is near the end of its context would have others read in small pieces for long
        wanted = min(budget, MOST_PADDED // rows, _unread(reading[-1]))
        decoding = [task for task in decoding if capacity - task.computed >= wanted]
    room = min((capacity - task.computed for task in (*decoding, *reading)), default=0)
    width = min(room, MOST_PADDED // rows)
    planned = [(task, _chunk(task, 1)) for task in decoding]
    for left, task in zip(range(len(reading), 0, -1), reading, strict=True):
        size = _piece(_unread(task), min(width, budget // left))
        if size:
            budget -= size
            task.read_at = passes
            planned.append((task, _chunk(task, size)))
    return planned


def _chunk(task: Task, size: int) -> Chunk:
    assert task.slot is not None  # noqa: S101 - it is running
    end = task.computed + size
    return Chunk(task.slot, task.computed, task.tokens[task.computed : end], end == len(task.tokens))


def _unread(task: Task) -> int:
    return task.prompt_size - task.computed


def _piece(unread: int, most: int) -> int:
    """How many of a prompt's tokens to take: neither it nor what is left may be one token, which alone is computed by
    another kernel, with other last bits; 0 where that cannot be."""
    size = min(unread, most)
    size -= unread - size == 1
    return size if size > 1 else 0
