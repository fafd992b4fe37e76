"""One request's path: exact lookup, embed, semantic lookup and route, replay or execute, store, receipt."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from services.chassis.errors import NotFound, Overloaded, Unavailable
from services.edge.accounts import Accounts, Executed
from services.edge.attempts import Attempts
from services.edge.background import BackgroundCalls
from services.edge.cascading import Cascading
from services.edge.catalogue import Catalogue
from services.edge.chat import CacheNote, Delta, Finish, Outcome, Request
from services.edge.comparing import Comparing
from services.edge.execution import Execution
from services.edge.execution_gate import ExecutionGate
from services.edge.judging import Judging, judges_of
from services.edge.keeping import Keeping, may_be_kept
from services.edge.ledger import Ledger
from services.edge.limits import Limits
from services.edge.planning import Planning
from services.edge.ports import Cache, Embedding, Encoder, Executor, Hit, Miss, Plan, Router
from services.edge.receipt import Latency, Receipt
from services.edge.repeating import Repeating
from services.edge.replay import as_shared, replay
from services.edge.settings import EdgeSettings
from services.edge.shadow_budget import ShadowBudget
from services.edge.shadowing import Shadowing
from services.edge.single_flight import SingleFlight
from services.edge.twins import Twins
from services.edge.work import Work

_LOOKUPS_WHEN_FULL = 1


class Pipeline:
    """Answers requests; every part but the executor may fail without failing them."""

    def __init__(
        self,
        settings: EdgeSettings,
        encoder: Encoder,
        cache: Cache,
        router: Router,
        executor: Executor,
        catalogue: Catalogue,
        ledger: Ledger,
    ) -> None:
        self._settings = settings
        self._encoder = encoder
        self._cache = cache
        self.attempts = Attempts(executor, catalogue)
        self._catalogue = catalogue
        self._flights: SingleFlight[Delta | Outcome | Executed] = SingleFlight()
        self.twins = Twins(cache)
        self._accounts = Accounts(ledger, catalogue)
        calls = BackgroundCalls(self.attempts, self._accounts)
        self.judging = Judging(cache, judges_of(settings.judge, encoder, calls), settings.judge.at_once)
        self._keeping = Keeping(cache, self.judging, catalogue, settings.hot_temperature)
        self.limits = Limits(settings.limits, settings.tenants, ledger, priced=lambda: catalogue.is_known)
        self._gate = ExecutionGate(settings.max_requests)
        budget = ShadowBudget(self.limits, ledger, settings.shadow.usd_per_day)
        comparing = Comparing(settings.shadow, calls, catalogue, budget)
        self.shadowing = Shadowing(settings.shadow, router, comparing, catalogue, self._gate)
        self.cascading = Cascading(router, self._accounts, Repeating(self.attempts, self._accounts, self._gate))
        self._planning = Planning(router, catalogue, settings.remembered_turns, settings.prefix_kept_s)
        self._under_way = 0
        self._looking = 0

    async def complete(self, request: Request) -> AsyncGenerator[Delta | Receipt, None]:
        """Deltas, then one receipt.

        Raises:
            InvalidField, NotFound, FailedPrecondition: the request cannot be met as it is.
            Overloaded: too many requests, here, of this tenant or in the executor; or its budget is spent.
            Unavailable, DeadlineExceeded: no model could answer, or not in time.
        """
        begin = time.monotonic()
        first: float | None = None
        work = Work(request, self._settings.max_quality_loss, self._settings.cache_part)
        self._admit()
        try:
            async with self.limits.place(request.tenant) as begun, aclosing(self._answer(work)) as events:
                async for event in events:
                    if first is None:
                        first = time.monotonic()
                    if not isinstance(event, Outcome | Executed):
                        begun()
                        yield event
                        continue
                    paid = event if isinstance(event, Executed) else await self._accounts.reused(request, event)
                    begun()
                    latency = Latency(first - begin, time.monotonic() - begin, paid.outcome.model_s)
                    yield Receipt(paid.receipt_id, request.request_id, paid.outcome, paid.cost, latency, work.budget)
            self.shadowing.begin(work)
        finally:
            self._under_way -= 1

    async def _answer(self, work: Work) -> AsyncGenerator[Delta | Outcome | Executed, None]:
        """The answer from the cache by the same text, from a twin under way, or anew."""
        control = work.request.cache_control
        missed: Miss | None = None
        if not control.no_cache:
            found = await self._exact(work)
            if isinstance(found, Hit):
                for event in replay(found, work):
                    yield event
                return
            missed = found
        if control.only_if_cached:
            for event in replay(await self._cached(work, missed), work):
                yield event
            return
        alone = control.no_cache or not may_be_kept(work.request, self._settings.hot_temperature)
        async with aclosing(self._anew(work, missed) if alone else self._shared(work, missed)) as pieces:
            async for piece in pieces:
                yield piece

    async def _exact(self, work: Work) -> Hit | Miss | None:
        """The same text; where no model has room for a miss, few are looked for, so that refusing stays quick."""
        if self._gate.full and self._looking >= _LOOKUPS_WHEN_FULL:
            raise self._gate.refusal()
        self._looking += 1
        try:
            exact = self._cache.lookup(work.key, None, work.budget.cache_share, work.request.cache_control.max_age_s)
            return await work.advisory("cache", "no exact match was looked for", exact)
        finally:
            self._looking -= 1

    async def _cached(self, work: Work, missed: Miss | None) -> Hit:
        """The answer to a similar prompt, for who wants none but from the cache."""
        with self._gate.place():
            embed = self._encoder.embed(work.request.text)
            embedding = await work.advisory("encoder", "no semantic lookup", embed)
            found = await self._similar(work, embedding, executes=False)
        if isinstance(found, Hit):
            return found
        if work.failed("cache"):
            raise Unavailable(
                "cache", "no lookup was possible", "a cache, as only_if_cached asks for its answers alone"
            )
        why = (found or missed or Miss("", "no lookup was possible")).explanation
        raise NotFound("cache_control.only_if_cached", why, "an answer that may be served", reason="NOT_CACHED")

    async def _shared(self, work: Work, missed: Miss | None) -> AsyncGenerator[Delta | Outcome | Executed, None]:
        """The answer of whoever asked the same first: of this request, if nobody did."""
        control = work.request.cache_control
        key = (work.key, control.max_age_s, control.ttl_s)
        events, claim = self._flights.join(key, lambda: self._anew(work, missed))
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Outcome | Executed) and not claim():
                    yield as_shared(event, work)
                else:
                    yield event

    async def _anew(self, work: Work, missed: Miss | None) -> AsyncGenerator[Delta | Outcome | Executed, None]:
        """The answer from the cache by a similar text, else from the model that the router chooses."""
        with self._gate.place() as executing:
            embed = self._encoder.embed(work.request.text)
            embedding = await work.advisory("encoder", "no semantic lookup and no prediction", embed)
            found, plan = await self._look_and_plan(work, embedding)
            if isinstance(found, Hit):
                for event in replay(found, work):
                    yield event
                return
            executing()
            work.missed = found
            plan = plan or self._planning.without_router(work)
            executed = self._execute(work, plan, embedding, _note(found or missed, work))
            async with self.twins.holding(work), aclosing(executed) as pieces:
                async for piece in pieces:
                    yield piece

    async def _execute(
        self, work: Work, plan: Plan, embedding: Embedding | None, note: CacheNote
    ) -> AsyncGenerator[Delta | Executed, None]:
        """The answer of the plan's first model that begins, on the books from before it begins, and kept."""
        execution = Execution(self.attempts, work)
        async with self._accounts.line(work.request, execution, plan.models[0].model) as opened:
            async with aclosing(self.cascading.run(work, execution, plan)) as generated:
                async for piece in generated:
                    if not isinstance(piece, Finish):
                        work.pieces.append(piece)
                        yield piece
            executed = await self._accounts.settle(opened, execution.outcome(plan, note))
        self._planning.learn(work, execution, executed.outcome)
        await self._keeping.keep(work, embedding, executed)
        told = replace(executed.outcome.cache, not_kept=work.not_kept)
        work.outcome = replace(executed.outcome, cache=told, degradations=tuple(work.degradations))
        yield replace(executed, outcome=work.outcome)

    async def _look_and_plan(self, work: Work, embedding: Embedding | None) -> tuple[Hit | Miss | None, Plan | None]:
        """Semantic lookup and route side by side; where one fails the request, the other is not left running."""
        lookup = asyncio.create_task(self._similar(work, embedding, executes=True))
        try:
            plan = await self._planning.plan(work, embedding)
            return await lookup, plan
        finally:
            lookup.cancel()
            await asyncio.gather(lookup, return_exceptions=True)

    async def _similar(self, work: Work, embedding: Embedding | None, executes: bool) -> Hit | Miss | None:
        """The answer to a similar prompt; who `executes` on a miss compares answers, and waits for twins."""
        control = work.request.cache_control
        if embedding is None or control.no_cache or work.failed("cache"):
            return None
        kept = executes and may_be_kept(work.request, self._settings.hot_temperature)
        judges = kept and self._settings.judge.at_once > 0  # of what is not kept, nothing is told
        if kept:
            lookup = self.twins.find(work, embedding, judges)
        else:
            asked = work.key, embedding, work.budget.cache_share, control.max_age_s, judges
            lookup = self._cache.lookup(*asked, executes)
        return await work.advisory("cache", "no similar prompt was looked for", lookup)

    def _admit(self) -> None:
        if self._under_way >= self._settings.max_requests:
            limit = f"at most {self._settings.max_requests}"
            raise Overloaded("requests", f"{self._under_way} under way", limit, retry_after_s=1.0)
        self._under_way += 1


def _note(found: Miss | None, work: Work) -> CacheNote:
    if found:
        return CacheNote("miss", found.lookup_id, explanation=found.explanation)
    asked = work.request.cache_control.no_cache
    why = "the caller asked for none, or for probabilities" if asked else "no lookup was possible"
    return CacheNote("bypassed", explanation=why)
