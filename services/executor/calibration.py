"""Measures what goes into each linear layer on sample texts, for precisions that quantise activations."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.executor.chat_text import load_tokenizer
from services.executor.models.checkpoint import InvalidCheckpoint, digest_of, open_checkpoint
from services.executor.models.decoder import decoder_shape, emit_decoder
from services.executor.models.emitter import Weight
from services.executor.models.numpy_emitter import NumpyEmitter, empty_memory

MOST_TEXTS = 64
MOST_TOKENS = 256


class _Observer(NumpyEmitter):
    """The reference, which writes down the largest magnitude of each linear layer's input."""

    largest: dict[str, float]

    def linear(self, x: Any, weights: Sequence[Weight], biases: Sequence[Weight] = ()) -> Any:
        """The same product."""
        found = float(np.abs(x).max())
        self.largest[weights[0].name] = max(found, self.largest.get(weights[0].name, 0.0))
        return super().linear(x, weights, biases)


def largest_inputs(folder: Path, texts: Path | None) -> Mapping[str, float]:
    """By the first weight's name, the largest magnitude of a layer's input over the lines of a text file.

    Takes the first 64 lines and of each the first 256 tokens, on the CPU in NumPy: for a large model this takes as long
    as loading it a hundred times, so the result is kept beside the texts as `<texts>.<digest>.json`, with the digest of
    texts, model and tokenizer.

    Raises:
        InvalidCheckpoint: no texts are named, or the file has none.
    """
    if texts is None:
        raise InvalidCheckpoint(f"{folder}: calibration is not set, expected a text file, a sample a line")
    checkpoint = open_checkpoint(folder)
    measured = f"{checkpoint.digest()} {digest_of(folder / 'tokenizer.json', texts)} {MOST_TEXTS} {MOST_TOKENS}"
    kept = texts.with_name(f"{texts.name}.{hashlib.sha256(measured.encode()).hexdigest()[:16]}.json")
    if kept.exists():
        found: dict[str, float] = json.loads(kept.read_text(encoding="utf-8"))
        return found
    tokenizer, shape = load_tokenizer(folder), decoder_shape(checkpoint, MOST_TOKENS)
    lines = [line for line in texts.read_text(encoding="utf-8").splitlines() if line.strip()][:MOST_TEXTS]
    if not lines:
        raise InvalidCheckpoint(f"{texts}: has no text, expected a sample a line")
    largest: dict[str, float] = {}
    for line in lines:
        ids: NDArray[np.int64] = np.array([tokenizer.encode(line).ids[:MOST_TOKENS]])
        observer = _Observer(checkpoint, ids, empty_memory(shape.layers, 1, shape.attention))
        observer.largest = largest
        emit_decoder(observer, shape)
    fresh = kept.with_name(f"{kept.name}.{os.getpid()}")
    fresh.write_text(json.dumps(largest), encoding="utf-8")
    fresh.replace(kept)  # whole or not at all
    return largest
