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
    """Comparisons under way, at most `most`; one too many is let be, as the cache learns from any share of them."""

    def __init__(self, cache: Cache, judges: tuple[Judge, ...], most: int) -> None:
        self._cache = cache
        self._judges = judges
        self._most = most
        self._under_way: set[asyncio.Task[None]] = set()

    def begin(self, request: Request, missed: Miss, answer: str) -> None:
        """Compares later, where the cache asked for it."""
        if missed.candidate is None or len(self._under_way) >= self._most:
            return
        comparison = Comparison(request, missed.candidate, answer, missed.audit)
        task = asyncio.create_task(self._judge(missed.lookup_id, comparison))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def close(self) -> None:
        """Waits for what is under way."""
        await asyncio.gather(*self._under_way)

    async def _judge(self, lookup_id: str, comparison: Comparison) -> None:
        outlive_deadline()
        try:
            for judge in self._judges:
                same = await judge.same(comparison)
                if same is not None:
                    await self._cache.judge(comparison.request.tenant, lookup_id, same, f"judge:{judge.name}")
                    return
        except FulcrumError as error:
            structlog.get_logger("edge").warning("a check has no verdict", lookup_id=lookup_id, error=str(error))


def judges_of(settings: JudgeSettings, encoder: Encoder, calls: BackgroundCalls) -> tuple[Judge, ...]:
    """Who compares, the cheapest first; a model only where one is set."""
    judges = (Equality(), Similarity(encoder, settings.same_from, settings.different_to))
    if settings.model is None:
        return judges
    return *judges, ModelJudge(calls, settings.model, settings.model_share)
