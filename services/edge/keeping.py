"""Says which answers may be kept: whole ones of nothing but text, not sampled hot, that nobody asked to forget."""

from collections.abc import Sequence

from services.edge.chat import Delta, Finish, FinishReason, Request, TextDelta


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
