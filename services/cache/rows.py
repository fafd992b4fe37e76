"""How an entry lies in its row: the columns in order, and whether they are as they were written."""

from typing import Any

from services.cache.seal import seal

SEALED = "sequence, key, tenant, fingerprint, principal, size, create_ns, expire_ns, cost_nano_usd, standing, content"
USE = "hits, last_used_ns, worth"
TEXTS = "foreign_id, request_id, source, model, input_tokens, output_tokens, text, answer"
COLUMNS = f"{SEALED}, seal, embedded, {USE}, {TEXTS}"
PLACES = ", ".join("?" * 24)
SIZE, STANDING, SEALED_COUNT, EMBEDDED, HITS, FIRST_TEXT = 5, 9, 11, 12, 13, 16


def is_whole(row: tuple[Any, ...]) -> bool:
    """Whether a row of COLUMNS holds what was written."""
    return bool(row[SEALED_COUNT] == seal(*row[:SEALED_COUNT]) and row[SEALED_COUNT - 1] == seal(*row[FIRST_TEXT:]))
