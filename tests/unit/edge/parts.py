"""Small in-memory implementations of edge's ports that tell what was asked of them, and a pipeline over them."""

import asyncio
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from services.chassis import call
from services.chassis.errors import DeadlineExceeded, FulcrumError
from services.edge.catalogue import Catalogue
from services.edge.chat import (
    CacheControl,
    Delta,
    Finish,
    FinishReason,
    Message,
    Objective,
    PlannedModel,
    Request,
    TextDelta,
    Usage,
)
from services.edge.ledger import Ledger
from services.edge.ledger_sums import FIRST
from services.edge.pipeline import Pipeline
from services.edge.ports import (
    Assessment,
    CacheKey,
    CatalogueModel,
    Circumstances,
    Draw,
    Embedding,
    Hit,
    Lease,
    Miss,
    Plan,
    Signals,
    StoredAnswer,
    Wait,
)
from services.edge.price import ListPrice, MachinePrice, Price
from services.edge.receipt import Receipt
from services.edge.settings import EdgeSettings
from services.edge.usage import Totals

LARGE, SMALL, UNPRICED = "large", "small", "unpriced"
LARGE_PRICE = ListPrice(10.0, 1.0, 12.5, 30.0)
SMALL_PRICE = MachinePrice(3.6, 100.0, 1000.0)
USAGE = Usage(input_tokens=100, cached_input_tokens=20, output_tokens=50)
DONE = Finish(FinishReason.STOP, USAGE, machine_s=0.01)
Event = Delta | Finish
Script = list[Event | FulcrumError | Callable[[], Any]]


def embedding(text: str) -> Embedding:
    return Embedding(text.encode().ljust(4), 1, "ab" * 32, len(text.split()), False)


@dataclass
class MemoryEncoder:
    """Embeds a text as its own bytes."""

    trace: list[str]
    error: FulcrumError | None = None

    async def embed(self, text: str) -> Embedding:
        self.trace.append("embed")
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        return embedding(text)


@dataclass
class MemoryCache:
    """Keeps answers by key; `similar` are the texts whose answer may be served for another text."""

    trace: list[str]
    lookup_error: FulcrumError | None = None
    store_error: FulcrumError | None = None
    refusal: str = ""  # why nothing is kept
    similar: dict[str, str] = field(default_factory=dict)
    entries: dict[CacheKey, StoredAnswer] = field(default_factory=dict)
    lookups: list[tuple[CacheKey, Embedding | None, float, float | None]] = field(default_factory=list)
    stores: list[tuple[CacheKey, Embedding | None, StoredAnswer, float | None, str]] = field(default_factory=list)
    on_semantic: Callable[[], Any] | None = None
    candidates: dict[str, str] = field(default_factory=dict)
    verdicts: list[tuple[str, str, bool, str]] = field(default_factory=list)
    reports: list[tuple[str, str, str, bool]] = field(default_factory=list)
    report_error: FulcrumError | None = None
    executing: list[bool] = field(default_factory=list)
    leased: list[Wait] = field(default_factory=list)
    waited_for: list[str] = field(default_factory=list)
    lease_s: float = 0.0
    holds: list[tuple[str, str, bool]] = field(default_factory=list)

    async def lookup(
        self,
        key: CacheKey,
        embedding: Embedding | None,
        max_wrong_share: float,
        max_age_s: float | None,
        judges: bool = False,
        executes: bool = True,
    ) -> Hit | Miss:
        kind = "semantic" if embedding else "exact"
        self.trace.append(f"lookup {kind}")
        self.executing.append(executes)
        self.lookups.append((key, embedding, max_wrong_share, max_age_s))
        await asyncio.sleep(0)
        if self.lookup_error:
            raise self.lookup_error
        if embedding and self.on_semantic:
            await self.on_semantic()
        name = f"l{len(self.lookups)}"
        twin = replace(key, text=self.similar.get(key.text, key.text)) if embedding else key
        answer = self.entries.get(twin)
        if answer is None:
            return Miss(name, f"nothing {kind}", self.candidates.get(key.text) if judges else None)
        sure = 1.0 if twin == key else 0.9
        found = "exact_hit" if twin == key else "semantic_hit"
        return Hit(name, found, answer.text, answer.model, answer.input_tokens, answer.output_tokens, sure, sure)

    async def lookup_or_wait(
        self,
        key: CacheKey,
        embedding: Embedding | None,
        max_wrong_share: float,
        max_age_s: float | None,
        judges: bool,
        waited_for: str,
    ) -> Hit | Miss | Wait:
        self.waited_for.append(waited_for)
        if self.leased:
            return self.leased.pop(0)
        found = await self.lookup(key, embedding, max_wrong_share, max_age_s, judges)
        if isinstance(found, Miss) and self.lease_s:
            found = replace(found, lease=Lease(f"lease of {found.lookup_id}", self.lease_s))
        return found

    async def hold(self, tenant: str, lease_id: str, end: bool) -> bool:
        await asyncio.sleep(0)
        self.holds.append((tenant, lease_id, end))
        return not end

    async def store(
        self, key: CacheKey, embedding: Embedding | None, answer: StoredAnswer, ttl_s: float | None, lookup_id: str
    ) -> str:
        self.trace.append("store")
        await asyncio.sleep(0)
        if self.store_error:
            raise self.store_error
        if self.refusal:
            return self.refusal
        self.stores.append((key, embedding, answer, ttl_s, lookup_id))
        self.entries[key] = answer
        return ""

    async def judge(self, tenant: str, lookup_id: str, same: bool, source: str) -> None:
        await asyncio.sleep(0)
        self.verdicts.append((tenant, lookup_id, same, source))

    async def report(self, tenant: str, principal: str, lookup_id: str, right: bool) -> None:
        await asyncio.sleep(0)
        if self.report_error:
            raise self.report_error
        self.reports.append((tenant, principal, lookup_id, right))


def known_model(name: str, price: Price | None, **changes: Any) -> CatalogueModel:
    made = CatalogueModel(
        name=name,
        is_default=False,
        price=price,
        context_tokens=1000,
        supports_tools=True,
        bytes_per_token=1.0,
        expected_output_tokens=100,
    )
    return replace(made, **changes)


@dataclass
class MemoryRouter:
    """Always the same plan; `refused` is what it says to an embedding."""

    trace: list[str]
    models: tuple[str, ...] = (SMALL, LARGE)
    error: FulcrumError | None = None
    refused: FulcrumError | None = None
    stand_in: bool = True
    catalogue_error: FulcrumError | None = None
    known: tuple[CatalogueModel, ...] = (
        known_model(SMALL, SMALL_PRICE),
        known_model(LARGE, LARGE_PRICE, is_default=True),
        known_model(UNPRICED, None),
    )
    routes: list[tuple[Request, Embedding | None, Objective]] = field(default_factory=list)
    scores: list[tuple[str, str, float, str, float]] = field(default_factory=list)
    explored: list[bool] = field(default_factory=list)
    reports: list[tuple[str, str, str, bool]] = field(default_factory=list)
    report_error: FulcrumError | None = None
    circumstances: list[Circumstances] = field(default_factory=list)
    readings: int = 0
    on_route: Callable[[], Any] | None = None
    expected_kept: float | None = None
    repeats: int = 0
    accepts: bool = True
    assess_error: FulcrumError | None = None
    assessed: list[tuple[str, Signals]] = field(default_factory=list)
    seconds: tuple[float | None, float | None] = (None, None)
    costs: tuple[int | None, int | None] = (None, None)

    async def route(
        self, request: Request, embedding: Embedding | None, objective: Objective, known: Circumstances
    ) -> Plan:
        self.trace.append("route")
        self.circumstances.append(known)
        self.routes.append((request, embedding, objective))
        await asyncio.sleep(0)
        if self.on_route:
            await self.on_route()
        if embedding and self.refused:
            raise self.refused
        if self.error:
            raise self.error
        times = dict(zip(self.models, self.seconds, strict=False))
        costs = dict(zip(self.models, self.costs, strict=False))
        planned = tuple(
            PlannedModel(model, 0.9, 0.01, costs.get(model), times.get(model), self.stand_in) for model in self.models
        )
        return Plan(f"d{len(self.routes)}", planned, "the cheapest that fits", self.expected_kept, self.repeats)

    async def assess(self, decision_id: str, signals: Signals) -> Assessment:
        self.trace.append(f"assess {signals.model}")
        self.assessed.append((decision_id, signals))
        await asyncio.sleep(0)
        if self.assess_error:
            raise self.assess_error
        return Assessment(self.accepts, "Seen." if self.accepts else "Not good enough.")

    async def feedback(self, decision_id: str, model: str, score: float, source: str, drawn: Draw) -> None:
        self.trace.append(f"feedback {model}")
        self.scores.append((decision_id, model, score, source, drawn.probability))
        self.explored.append(drawn.explored)
        await asyncio.sleep(0)

    async def report(self, tenant: str, decision_id: str, model: str, right: bool) -> None:
        await asyncio.sleep(0)
        if self.report_error:
            raise self.report_error
        self.reports.append((tenant, decision_id, model, right))

    async def catalogue(self) -> tuple[CatalogueModel, ...]:
        self.readings += 1
        await asyncio.sleep(0)
        if self.catalogue_error:
            raise self.catalogue_error
        return self.known


@dataclass
class MemoryExecutor:
    """Plays a script a model: events are said, errors raised, anything else is awaited; obeys the call's deadline.

    Where `later` has a model, its calls after the first play these, one each.
    """

    trace: list[str]
    scripts: dict[str, Script] = field(default_factory=dict)
    later: dict[str, list[Script]] = field(default_factory=dict)
    asked: list[Request] = field(default_factory=list)
    running: int = 0
    ended: int = 0
    replicas: int = 1

    async def generate(self, model: str, request: Request) -> AsyncGenerator[Event, None]:
        self.trace.append(f"generate {model}")
        self.asked.append(request)
        script = self.scripts.get(model, [TextDelta("an "), TextDelta("answer"), DONE])
        if self.trace.count(f"generate {model}") > 1 and model in self.later:
            script = self.later[model].pop(0)
        self.running += 1
        limit, _ = call.outgoing(60.0)
        try:
            async with asyncio.timeout(limit):
                for step in script:
                    await asyncio.sleep(0)
                    if isinstance(step, FulcrumError):
                        raise step
                    if isinstance(step, Event):
                        yield step
                    else:
                        await step()
        except TimeoutError as error:
            raise DeadlineExceeded("deadline", limit, "more") from error
        finally:
            self.running -= 1
            self.ended += 1


class Bench:
    """A pipeline on memory, the trace of what it asked for, and a way to ask it."""

    def __init__(self, **settings: Any) -> None:
        self.trace: list[str] = []
        self.settings = EdgeSettings(**{"max_quality_loss": 0.02, "cache_part": 0.25, **settings})
        self.encoder = MemoryEncoder(self.trace)
        self.cache = MemoryCache(self.trace)
        self.router = MemoryRouter(self.trace)
        self.executor = MemoryExecutor(self.trace)
        self.catalogue = Catalogue(self.router, self.settings.catalogue_refresh_s, self.settings.fallback_model)
        self._folder = tempfile.TemporaryDirectory()
        self.ledger = Ledger(Path(self._folder.name) / "ledger.sqlite", False, 1)
        parts = (self.encoder, self.cache, self.router, self.executor, self.catalogue, self.ledger)
        self.pipeline = Pipeline(self.settings, *parts)

    async def __aenter__(self) -> "Bench":
        await self.ledger.start()
        await self.catalogue.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.catalogue.close()
        await self.ledger.close()
        self._folder.cleanup()

    async def booked(self) -> Totals:
        """The sums of every line of the ledger."""
        await self.ledger.submit(lambda file: None)  # what was put before it is written by then
        groups = await self.ledger.read(lambda sums: sums.groups(None, (0, 100_000), frozenset(), FIRST, 1))
        return groups[0].totals if groups else Totals()

    def stream(self, request: Request) -> AsyncGenerator[Delta | Receipt, None]:
        return self.pipeline.complete(request)

    async def ask(self, request: Request) -> tuple[str, Receipt]:
        """The answer's text, and its receipt, which has to be the one last event."""
        events = [event async for event in self.stream(request)]
        *deltas, receipt = events
        assert isinstance(receipt, Receipt)
        assert not any(isinstance(event, Receipt) for event in deltas)
        return "".join(event.text for event in deltas if isinstance(event, TextDelta)), receipt

    def at_rest(self) -> bool:
        """Whether nothing is left of any request."""
        flights = self.pipeline._flights._flights
        return not flights and not self.pipeline._under_way and not self.executor.running


@contextmanager
def due(seconds: float) -> Generator[None, None, None]:
    """What is asked meanwhile has a deadline so far away."""
    call.enter(call.Call("r", time.monotonic() + seconds))
    try:
        yield
    finally:
        call.enter(None)


def request(prompt: str = "What is it?", **changes: Any) -> Request:
    """A request of one user turn; `system` puts instructions before it."""
    system = changes.pop("system", None)
    turns = (*([Message("system", system)] if system else []), Message("user", prompt))
    return replace(Request("r", "tenant", turns), **changes)


def control(**fields: Any) -> CacheControl:
    return CacheControl(**fields)
