"""What the encoder says of a benchmark's prompts, kept between runs: it takes longer than everything else."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.executor.sentence_encoder import SentenceEncoder
from services.router.scored import Scored

_ENCODER, _BATCH = Path(".models/all-MiniLM-L6-v2"), 16


def embedded(scored: Scored, kept: Path | None) -> NDArray[np.float32]:
    """Embeddings [n, d] of the prompts, read from `kept` where it holds as many rows, else encoded and kept there."""
    if kept is not None and kept.exists() and len(found := np.load(kept)) == len(scored):
        return np.asarray(found, np.float32)
    vectors = encoded(scored.prompts)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.save(kept, vectors)
    return vectors


def encoded(prompts: Sequence[str]) -> NDArray[np.float32]:
    """Embeddings [n, d], in batches without padding."""
    encoder = SentenceEncoder(_ENCODER, "fp32", threads=1)
    tokens = [encoder.tokenise(prompt) for prompt in prompts]
    by_length: dict[int, list[int]] = {}
    for row, found_tokens in enumerate(tokens):
        by_length.setdefault(len(found_tokens.ids), []).append(row)
    rows: dict[int, NDArray[np.float32]] = {}
    for same in by_length.values():
        for start in range(0, len(same), _BATCH):
            batch = same[start : start + _BATCH]
            rows.update(zip(batch, encoder.encode([tokens[row] for row in batch]), strict=True))
    return np.stack([rows[row] for row in range(len(tokens))])
