"""What a cache that was killed must hold: a model of its entries, of eviction and of calls without an answer."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from fulcrum.cache.v1 import cache_service_pb2 as pb
from fulcrum.embedding.v1 import embedding_pb2

SCOPE = pb.Scope(tenant="acme")
DIMENSION = 32
CHEAP, DEAR = 1_000, 10**9  # nano-dollars


def vector(prompt: str) -> embedding_pb2.Embedding:
    """A unit vector of the prompt's own."""
    made = np.random.default_rng(list(prompt.encode())).standard_normal(DIMENSION)
    values = (made / np.linalg.norm(made)).astype("<f4").tobytes()
    return embedding_pb2.Embedding(values=values, dimension=DIMENSION, encoder_digest="ab" * 32)


def place(entry_id: str) -> int:
    """The order in which entries were kept."""
    return int(entry_id.rpartition("-")[2])


@dataclass
class Known:
    """A prompt: whether its answers are dear, where they live, and what may be there: answers, or None for nothing."""

    prompt: str
    dear: bool
    fingerprint: bytes
    may_be: set[str | None] = field(default_factory=lambda: {None})
    entry_id: str = ""  # of the last acknowledged store

    def store(self, answer: str) -> pb.StoreRequest:
        """Keeps another answer, which may be there from now on."""
        self.may_be.add(answer)
        cost = DEAR if self.dear else CHEAP
        return pb.StoreRequest(
            scope=SCOPE,
            fingerprint=self.fingerprint,
            text=self.prompt,
            embedding=vector(self.prompt),
            answer=pb.Answer(text=answer, model="m", cost_nano_usd=cost),
        )

    def purge(self) -> pb.InvalidateRequest:
        """Removes the entry, which may be gone from now on."""
        self.may_be.add(None)
        return pb.InvalidateRequest(scope=SCOPE, entry_id=self.entry_id)

    def lookup(self, wording: str = "{}", **fields: Any) -> pb.LookupRequest:
        """Asks for it, in these words."""
        text = wording.format(self.prompt)
        return pb.LookupRequest(scope=SCOPE, fingerprint=self.fingerprint, text=text, **fields)

    @property
    def sure(self) -> bool:
        """Whether an answer is there, unless it was evicted."""
        return None not in self.may_be


class Model:
    """All prompts; cheap answers are evicted, the oldest first, and dear ones are worth more than any of them."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.known: dict[str, Known] = {}
        self.stored = self.purged = self.held = self.evicted = 0

    def new(self, dear: bool, fingerprint: bytes) -> Known:
        prompt = f"What is the colour of thing {len(self.known)}?"
        self.known[prompt] = Known(prompt, dear, fingerprint)
        return self.known[prompt]

    def check(self, entries: Iterable[pb.StoredEntry]) -> None:
        """Holds what is there after a kill against what may be; what is found is certain from then on."""
        found = {one.entry.text: one for one in entries}
        assert len(found) <= self.most
        assert len(found) >= min(self.most, self.held + self.stored) - self.purged, "evicted though there was room"
        cheap = [place(one.entry.entry_id) for one in found.values() if not self.known[one.entry.text].dear]
        oldest = min(cheap, default=0)
        for known in self.known.values():
            one = found.get(known.prompt)
            if one is None:
                gone_by_policy = not known.dear and place(known.entry_id or "-0") < oldest
                assert None in known.may_be or gone_by_policy, f"{known} was acknowledged and is gone"
                self.evicted += None not in known.may_be
                known.may_be = {None}
                continue
            assert one.answer.text in known.may_be, f"{known} has another answer: {one.answer.text}"
            if known.sure and len(known.may_be) == 1:
                assert one.entry.entry_id == known.entry_id
            assert one.embedding.values == vector(known.prompt).values
            known.entry_id, known.may_be = one.entry.entry_id, {one.answer.text}
        self.held, self.stored, self.purged = len(found), 0, 0

    def there(self) -> list[Known]:
        """Dear prompts that are certainly there."""
        return [known for known in self.known.values() if known.dear and known.sure]


def said(rng: random.Random, number: int) -> str:
    """An answer that no other store has, of no length in particular."""
    return f"{number} " + "because " * rng.randrange(60)
