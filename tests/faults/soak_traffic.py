"""Everything that clients do, each kind of it with the statuses that it may end with."""

import asyncio
import random
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import grpc
from fulcrum.edge.v1 import edge_service_pb2 as edge_pb
from fulcrum.executor.v1 import chat_pb2
from fulcrum.router.v1 import objective_pb2

_CHANCE = random.Random(5)
_TIMEOUT_S = 30.0

# What may come of each kind; nothing is killed, so that nothing may ever be UNAVAILABLE.
MAY_END: dict[str, set[str]] = {
    "plain": {"OK"},
    "limited": {"OK", "RESOURCE_EXHAUSTED"},  # a tenant with a rate
    "leaving": {"OK", "CANCELLED"},
    "hurried": {"OK", "DEADLINE_EXCEEDED"},
    "unknown model": {"NOT_FOUND"},
    "bad field": {"INVALID_ARGUMENT"},
    "too long": {"INVALID_ARGUMENT"},
    "stranger": {"UNAUTHENTICATED"},
}
_SHARES = (10, 1, 2, 2, 1, 1, 1, 1)


@dataclass
class Traffic:
    """Callers with keys, and how their calls ended, by kind."""

    token: str
    limited: str
    ended: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def sent(self, kind: str) -> int:
        """Calls of that kind that have ended."""
        return self.ended[kind].total()

    async def keep_asking(self, stub: Any, until: float) -> None:
        """One caller: one call after the other until that moment, monotonic seconds."""
        while time.monotonic() < until:
            (kind,) = _CHANCE.choices(list(MAY_END), _SHARES)
            token = {"limited": self.limited, "stranger": self.token[:-8] + "a" * 8}.get(kind, self.token)
            timeout_s = _CHANCE.choice((0.001, 0.02, 0.05)) if kind == "hurried" else _TIMEOUT_S
            metadata = (("authorization", f"Bearer {token}"),)
            call = stub.Complete(_request(kind), timeout=timeout_s, metadata=metadata)
            self.ended[kind][await _code(call, kind == "leaving")] += 1


def _request(kind: str) -> edge_pb.CompleteRequest:
    """Half of them are new; the rest are words said before, in the same words or in others.

    New ones are made of few words, as tokenizers remember words until there are 10,000 of them.
    """
    one, two, three, four = (_CHANCE.randrange(100) for _ in range(4))
    prompts = (
        f"What is {one} plus {two} plus {three} plus {four}?",
        f"Reverse the words {one} and {two} and {three} and {four}.",
        "What is the capital of France?",
    )
    request = edge_pb.CompleteRequest(
        messages=[chat_pb2.Message(role=chat_pb2.ROLE_USER, content=_CHANCE.choice((*prompts, prompts[2].upper())))]
    )
    if kind == "unknown model":
        request.objective.CopyFrom(objective_pb2.Objective(allowed_models=[f"no-such-{one}"]))
    elif kind == "bad field":
        request.sampling.top_p = 7.0
    elif kind == "too long":
        request.messages[0].content = "x" * _CHANCE.randrange(20_000, 40_000)
    elif kind == "leaving":
        request.cache_control.no_cache = True
        request.messages[0].content = prompts[1]
    return request


async def _code(call: Any, leaves: bool) -> str:
    """How a call ends; one that leaves is cancelled after its first words."""
    try:
        async for _ in call:
            if leaves:
                call.cancel()
    except grpc.aio.AioRpcError as error:
        return str(error.code().name)
    except asyncio.CancelledError:  # how grpc.aio tells the reader of its own cancelling
        if not call.cancelled():
            raise
        return "CANCELLED"
    return "OK"
