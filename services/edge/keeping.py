"""Says which answers may be kept: whole ones of nothing but text, not sampled hot, that nobody asked to forget."""

from collections.abc import Sequence

from services.edge.chat import Delta, Finish, FinishReason, Request, TextDelta


def kept_text(request: Request, pieces: Sequence[Delta], finish: Finish, hot_temperature: float) -> str:
    """The text to keep; empty where nothing is to be kept.

    An answer that was cut short or withheld is not whole, and one that calls a function acts each time it is given.
    One sampled at more than `hot_temperature` is one of many, so that it is kept only where the request asks for that.
    """
    control, temperature = request.cache_control, request.sampling.temperature
    hot = temperature is not None and temperature > hot_temperature and not control.store_sampled
    if control.no_store or hot or finish.reason is not FinishReason.STOP:
        return ""
    text = [piece.text for piece in pieces if isinstance(piece, TextDelta)]
    return "".join(text) if len(text) == len(pieces) else ""
