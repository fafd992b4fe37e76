"""The entries used last, in memory, so that an exact hit costs no look at the disk."""

from collections import OrderedDict
from collections.abc import Iterable

from services.cache.entry import Entry


class AnswerMemory:
    """Entries up to `max_bytes` of prompts and answers; the one used longest ago goes first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[int, Entry] = OrderedDict()
        self.bytes = 0

    def get(self, sequence: int) -> Entry | None:
        """The entry; None where it is not in memory."""
        return self._entries.get(sequence)

    def some(self, sequences: Iterable[int]) -> list[Entry | None]:
        """As `get` for each."""
        return list(map(self._entries.get, sequences))

    def used(self, sequence: int) -> None:
        """Makes an entry, if it is in memory, the one used last."""
        if sequence in self._entries:
            self._entries.move_to_end(sequence)

    def put(self, entry: Entry) -> None:
        """Takes an entry in, unless it is larger than the whole memory."""
        self.drop(entry.sequence)
        if _size(entry) > self._max_bytes:
            return
        self._entries[entry.sequence] = entry
        self.bytes += _size(entry)
        while self.bytes > self._max_bytes:
            self.drop(next(iter(self._entries)))

    def drop(self, sequence: int) -> None:
        """Forgets an entry, known or not."""
        entry = self._entries.pop(sequence, None)
        if entry is not None:
            self.bytes -= _size(entry)


def _size(entry: Entry) -> int:
    return 4 * len(entry.text) + 2 * len(entry.answer.text) + 2048  # the prompt's sketch with it
