"""Keeps answers that may be: whole ones of nothing but text, not sampled hot, that nobody asked to forget."""

from collections.abc import Sequence

from services.edge.accounts import Executed
from services.edge.catalogue import Catalogue
from services.edge.chat import Delta, Finish, FinishReason, Request, TextDelta
from services.edge.judging import Judging
from services.edge.ports import Cache, Embedding, StoredAnswer
from services.edge.work import Work


class Keeping:
    """Stores answers; one sampled at more than `hot_temperature` only where its request asks for that."""

    def __init__(self, cache: Cache, judging: Judging, catalogue: Catalogue, hot_temperature: float) -> None:
        self._cache = cache
        self._judging = judging
        self._catalogue = catalogue
        self._hot_temperature = hot_temperature

    async def keep(self, work: Work, embedding: Embedding | None, executed: Executed) -> None:
        """Stores what may be kept, unless a weaker model stood in for the chosen one."""
        outcome, cost = executed.outcome, executed.cost
        text = kept_text(work.request, work.pieces, outcome.finish, self._hot_temperature)
        if not text or work.failed("cache"):
            return
        if work.failed("model") and outcome.model != self._catalogue.default:
            return  # a weaker model's answer is better than none, but not what the next one asks for
        usage = outcome.finish.usage
        answer = StoredAnswer(
            text,
            outcome.model,
            usage.input_tokens if usage else 0,
            usage.output_tokens if usage else 0,
            cost.actual_nano_usd if cost else None,
            work.request.request_id,
        )
        ttl_s = work.request.cache_control.ttl_s
        store = self._cache.store(work.key, embedding, answer, ttl_s, outcome.cache.lookup_id)
        work.not_kept = await work.advisory("cache", "the answer was not kept", store) or ""
        work.kept = not (work.not_kept or work.failed("cache"))
        if work.missed is not None:
            self._judging.begin(work.request, work.missed, text)


def kept_text(request: Request, pieces: Sequence[Delta], finish: Finish, hot_temperature: float) -> str:
    """The text to keep; empty where nothing is to be kept.

    An answer that was cut short or withheld is not whole, and one that calls a function acts each time it is given.
    One sampled at more than `hot_temperature` is one of many, so that it is kept only where the request asks for that.
    """
    if not may_be_kept(request, hot_temperature) or finish.reason is not FinishReason.STOP:
        return ""
    text = [piece.text for piece in pieces if isinstance(piece, TextDelta)]
    return "".join(text) if len(text) == len(pieces) else ""


def may_be_kept(request: Request, hot_temperature: float) -> bool:
    """Whether an answer to the request is kept if it is whole."""
    control, temperature = request.cache_control, request.sampling.temperature
    hot = temperature is not None and temperature > hot_temperature and not control.store_sampled
    return not control.no_store and not hot
