"""The digest of everything but the prompt that changes an answer, so that no cached answer crosses it."""

import hashlib
from dataclasses import replace

from services.edge.chat import Request

_VERSION = 2


def fingerprint(request: Request, max_quality_loss: float) -> bytes:
    """SHA-256 over model policy, earlier turns with the system prompt, the last turn save its text, tools, sampling.

    What is digested is the frozen dataclasses' repr: it names every field and quotes every string, so that no two
    requests share one by accident, and a field that is added later is part of it at once.
    """
    *earlier, last = request.messages
    parts = (
        _VERSION,
        request.objective,
        max_quality_loss,
        earlier,
        replace(last, content=""),
        request.tools,
        request.sampling,
    )
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).digest()
