"""What a scope knows of each answer: how it fared, how many entries give it, and which others say the same."""

from collections.abc import Iterable
from dataclasses import dataclass

from services.cache.evidence import Record

_MOST = 50_000  # answers, and as many others that say the same
_MOST_DOUBTED = 1000
_BYTES = 220  # of memory for each


@dataclass(slots=True)
class Alias:
    """What an answer says the same as, and how many entries give it or another that is the same by it."""

    of: int
    entries: int


class KnownAnswers:
    """Answers by number. Those judged equal have one record, under the number of the one that was there first, their
    root; whatever is known of an answer goes with the last entry that gives it."""

    def __init__(self) -> None:
        self.records: dict[int, Record] = {}
        self.aliases: dict[int, Alias] = {}
        self.entries = 0
        self.doubts: dict[int, None] = {}  # oldest first

    def record(self, root: int) -> Record:
        """How a root fared; nothing is known of one without entries."""
        return self.records.get(root) or Record()

    def stored(self, answer: int) -> None:
        """Counts an entry with this answer; the answer known longest gives way to one too many."""
        *between, root = self._up(answer)
        for one in between:
            self.aliases[one].entries += 1
        self.records.setdefault(root, Record()).entries += 1
        self.entries += 1
        _bound(self.records)

    def removed(self, answer: int) -> None:
        """Counts an entry less; an answer without entries is forgotten."""
        *between, root = self._up(answer)
        for one in between:
            self.aliases[one].entries -= 1
            if self.aliases[one].entries <= 0:
                del self.aliases[one]
        self.entries = max(self.entries - 1, 0)
        record = self.records.get(root)
        if record is not None:
            record.entries -= 1
            if record.entries <= 0:
                del self.records[root]

    def alias(self, answer: int, of: int) -> None:
        """Takes an answer that was judged equal to another for the same from now on, if an entry still gives it."""
        root = self.root(of)
        if answer == root or answer not in self.records:
            return
        former, same = self.records.pop(answer), self.records.setdefault(root, Record())
        self.aliases[answer] = Alias(root, former.entries)
        same.right, same.wrong = same.right + former.right, same.wrong + former.wrong
        same.entries += former.entries
        _bound(self.aliases)

    def judged(self, answer: int, right: bool) -> None:
        """Takes a verdict on an answer that entries give."""
        record = self.records.get(self.root(answer))
        if record is not None:
            record.right += right
            record.wrong += not right

    def doubt(self, answer: int) -> None:
        """Takes a complaint that decides nothing by itself: the answer is to be compared, whatever chance says."""
        self.doubts[self.root(answer)] = None
        if len(self.doubts) > _MOST_DOUBTED:
            del self.doubts[next(iter(self.doubts))]

    def doubted(self, root: int) -> bool:
        """Whether somebody complained of an answer since it was compared last."""
        return root in self.doubts

    def compared(self, answer: int) -> None:
        """Takes that there is a verdict on an answer that would have been served, as was asked for."""
        self.doubts.pop(self.root(answer), None)

    def roots(self, answers: Iterable[int]) -> list[int]:
        """The `root` of each."""
        return [self.root(answer) for answer in answers] if self.aliases else list(answers)

    def root(self, answer: int) -> int:
        """The answer that this one is the same as."""
        while alias := self.aliases.get(answer):
            answer = alias.of
        return answer

    @property
    def bytes(self) -> int:
        """Bytes of memory, about."""
        return _BYTES * (len(self.records) + len(self.aliases))

    def _up(self, answer: int) -> list[int]:
        """The answer and what it is the same as, up to the root."""
        found = [answer]
        while alias := self.aliases.get(found[-1]):
            found.append(alias.of)
        return found


def _bound(known: dict[int, Record] | dict[int, Alias]) -> None:
    if len(known) > _MOST:
        del known[next(iter(known))]
