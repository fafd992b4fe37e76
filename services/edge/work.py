"""One request on its way: what it is about, and which parts it had to do without."""

import math
from collections.abc import Awaitable, Sequence
from functools import cached_property
from typing import TypeVar

import structlog

from services.chassis.call import current
from services.chassis.errors import FulcrumError, InvalidField
from services.chassis.status import code_of
from services.edge.chat import Degradation, Delta, Outcome, Request, TextDelta
from services.edge.conversations import turn_digests
from services.edge.fingerprint import fingerprint
from services.edge.ports import CacheKey, Miss
from services.edge.quality_budget import QualityBudget

T = TypeVar("T")
# Errors of the caller's own making: they are answered, where any other failure of an advisory part is done without.
_CALLERS = frozenset({"OBJECTIVE_IMPOSSIBLE", "MODEL_UNKNOWN", "PROMPT_TOO_LONG", "CAPABILITY_MISSING"})


class Work:
    """A checked request, its place in the cache, its budget, and its degradations so far.

    Raises:
        InvalidField: there is nothing to answer in the request.
    """

    def __init__(self, request: Request, max_quality_loss: float, cache_part: float) -> None:
        _check(request)
        given = request.objective.max_quality_loss
        loss = max_quality_loss if given is None else given
        control = request.cache_control
        self.request = request
        self.budget = QualityBudget.split(loss, cache_part, not (control.no_cache and control.no_store))
        self.key = CacheKey(request.tenant, fingerprint(request, loss), request.text, request.principal)
        self.degradations: list[Degradation] = []
        self.missed: Miss | None = None  # by the semantic lookup
        self.pieces: list[Delta] = []  # what its own execution has said so far
        self.outcome: Outcome | None = None  # of its own execution, once it has ended
        self.kept = False  # whether the answer that was made is in the cache
        self.not_kept = ""  # why the cache refused it
        call = current()
        self.deadline = call.deadline if call else math.inf  # monotonic seconds
        self._log = structlog.get_logger("edge")

    @cached_property
    def turns(self) -> Sequence[bytes]:
        """By what its conversation is known again."""
        return turn_digests(self.request)

    @property
    def said(self) -> str:
        """The text of the answer so far."""
        return "".join(piece.text for piece in self.pieces if isinstance(piece, TextDelta))

    async def advisory(self, part: str, consequence: str, answer: Awaitable[T]) -> T | None:
        """The part's answer, or None where it failed and the request can do without."""
        try:
            return await answer
        except FulcrumError as error:
            if part == "router" and error.reason in _CALLERS:
                raise
            self.do_without(part, error, consequence)
            return None

    def do_without(self, part: str, error: FulcrumError, consequence: str) -> None:
        """Notes that a part failed, and what was done without."""
        self._log.warning("degraded", part=part, error=str(error), consequence=consequence)
        self.degradations.append(Degradation(part, code_of(error).name, consequence))

    def failed(self, part: str) -> bool:
        """Whether that part failed already, so that asking it again would only cost time."""
        return any(degradation.part == part for degradation in self.degradations)


def _check(request: Request) -> None:
    control = request.cache_control
    if control.only_if_cached and control.no_cache:
        raise InvalidField("cache_control.only_if_cached", True, "False beside no_cache")
    field = f"messages[{len(request.messages) - 1}]"
    last = request.messages[-1]
    if last.role not in ("user", "tool"):
        raise InvalidField(f"{field}.role", last.role, "user or tool, so that there is something to answer")
    if not last.content.strip():
        raise InvalidField(f"{field}.content", "white space only", "a prompt")
