"""The digest of everything but the prompt that changes an answer, so that no cached answer crosses it."""

import hashlib
import json
from dataclasses import asdict, replace

from services.edge.chat import Request

_VERSION = 1


def fingerprint(request: Request, max_quality_loss: float) -> bytes:
    """SHA-256 over model policy, earlier turns with the system prompt, the last turn save its text, tools, sampling."""
    last = request.messages[-1]
    parts = [
        _VERSION,
        asdict(request.objective),
        max_quality_loss,
        [asdict(message) for message in request.messages[:-1]],
        asdict(replace(last, content="")),
        [asdict(tool) for tool in request.tools],
        asdict(request.sampling),
    ]
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).digest()
