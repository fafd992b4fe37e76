"""Which model answered a conversation's turn before, and how much of it that holds, so that leaving has its price.

A conversation is known by its words: a request whose turns before an answer are those of an earlier request goes on
with it, whatever its session is called, and only then is what the model holds of any use.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.edge.chat import Outcome, Request, Usage
from services.edge.price import MachinePrice, Price

_LEAST_TOKENS, _STEP_TOKENS = 1024, 128  # what providers hold, at the least and in which steps
_LOOKED_AT = 8  # turns that are looked for, from the last one back


@dataclass(frozen=True, slots=True)
class Held:
    """The model that answered, and the tokens of the prompt that it holds; none where it does not, or no longer."""

    model: str
    tokens: int


@dataclass(frozen=True, slots=True)
class _Turn:
    held: Held
    until: float


class Conversations:
    """The last turns that models answered, the oldest forgotten first."""

    def __init__(self, capacity: int, kept_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`kept_s` is how long a model is trusted to hold a prompt that it has read."""
        self._capacity, self._kept_s, self._clock = capacity, kept_s, clock
        self._turns: OrderedDict[bytes, _Turn] = OrderedDict()

    def before(self, digests: Sequence[bytes]) -> Held | None:
        """Who answered the last turn that is known of a conversation, by its `turn_digests`; None where none is."""
        for digest in reversed(digests[-_LOOKED_AT - 1 : -1]):
            turn = self._turns.get(digest)
            if turn:
                return turn.held if self._clock() < turn.until else Held(turn.held.model, 0)
        return None

    def after(self, digests: Sequence[bytes], outcome: Outcome, price: Price | None) -> None:
        """Remembers who answered, and what that model holds now."""
        usage = outcome.finish.usage
        if usage is None:
            return
        before = self.before(digests)
        forgets = before is not None and before.model == outcome.model and before.tokens > 0
        tokens = 0 if forgets and not usage.cached_input_tokens else _held_tokens(usage, price)
        digest = digests[-1]
        self._turns[digest] = _Turn(Held(outcome.model, tokens), self._clock() + self._kept_s)
        self._turns.move_to_end(digest)
        if len(self._turns) > self._capacity:
            self._turns.popitem(last=False)


def _held_tokens(usage: Usage, price: Price | None) -> int:
    """Our own engine keeps what it has read; a provider that sells cached tokens, long prompts in steps."""
    if isinstance(price, MachinePrice):
        return usage.input_tokens
    if price is None or price.cached_input_usd >= price.input_usd or usage.input_tokens < _LEAST_TOKENS:
        return 0
    return usage.input_tokens // _STEP_TOKENS * _STEP_TOKENS


def turn_digests(request: Request) -> Sequence[bytes]:
    """Digests of tenant, tools and the turns before each answer of the conversation, and of all turns at the end."""
    digest = hashlib.sha256(repr((request.tenant, request.tools)).encode("utf-8", "surrogatepass"))
    found = []
    for message in request.messages:
        if message.role == "assistant":
            found.append(digest.digest())
        digest.update(repr(message).encode("utf-8", "surrogatepass"))
    return [*found, digest.digest()]
