"""Compares answers that were made with those the cache would have given, off the requests' path, and tells it."""

import asyncio

import structlog

from services.chassis.call import outlive_deadline
from services.chassis.errors import FulcrumError
from services.edge.background import BackgroundCalls
from services.edge.chat import Request
from services.edge.judges import Comparison, Equality, Judge, Similarity
from services.edge.model_judge import ModelJudge
from services.edge.ports import Cache, Encoder, Miss
from services.edge.settings import JudgeSettings


class Judging:
    """Comparisons under way, at most `most` of near misses and as many of audits; one too many is let be.

    The cache learns from any share of near misses; an audit without a verdict counts as wrong for good.
    """

    def __init__(self, cache: Cache, judges: tuple[Judge, ...], most: int) -> None:
        self._cache = cache
        self._judges = judges
        self._most = most
        self._near: set[asyncio.Task[None]] = set()
        self._audits: set[asyncio.Task[None]] = set()

    def begin(self, request: Request, missed: Miss, answer: str) -> None:
        """Compares later, where the cache asked for it."""
        under_way = self._audits if missed.audit else self._near
        if missed.candidate is None or len(under_way) >= self._most:
            return
        comparison = Comparison(request, missed.candidate, answer, missed.audit)
        task = asyncio.create_task(self._judge(missed.lookup_id, comparison))
        under_way.add(task)
        task.add_done_callback(under_way.discard)

    async def close(self) -> None:
        """Waits for what is under way."""
        await asyncio.gather(*self._near, *self._audits)

    async def _judge(self, lookup_id: str, comparison: Comparison) -> None:
        outlive_deadline()
        log = structlog.get_logger("edge")
        for judge in self._judges:
            try:
                same = await judge.same(comparison)
            except FulcrumError as error:
                log.warning("a judge failed", lookup_id=lookup_id, judge=judge.name, error=str(error))
                continue
            if same is not None:
                await self._tell(lookup_id, comparison, same, judge.name)
                return

    async def _tell(self, lookup_id: str, comparison: Comparison, same: bool, judge: str) -> None:
        try:
            await self._cache.judge(comparison.request.tenant, lookup_id, same, f"judge:{judge}")
        except FulcrumError as error:
            log = structlog.get_logger("edge")
            log.warning("the cache was not told a verdict", lookup_id=lookup_id, error=str(error))


def judges_of(settings: JudgeSettings, encoder: Encoder, calls: BackgroundCalls) -> tuple[Judge, ...]:
    """Who compares, the cheapest first; a model only where one is set."""
    judges = (Equality(), Similarity(encoder, settings.same_from, settings.different_to))
    if settings.model is None:
        return judges
    return *judges, ModelJudge(calls, settings.model, settings.model_share)
