"""Texts with the vectors of the repository's own encoder, embedded once and kept in the temporary folder."""

import gzip
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cache_rule import embed
from services.executor.sentence_encoder import SentenceEncoder

ENCODER = Path(".models/all-MiniLM-L6-v2")
_CHUNK = 4096


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The objects of a `.jsonl` or `.jsonl.gz` file."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def vectors_of(texts: Sequence[str]) -> NDArray[np.float32]:
    """Unit vectors, shape [texts, dimension], in fp32."""
    distinct = sorted(set(texts), key=lambda text: (len(text), text))
    encoder = SentenceEncoder(ENCODER, "fp32", 1)
    kept = kept_file("vectors", [encoder.digest, *distinct], "npy")
    if not kept.exists():
        found: dict[str, NDArray[np.float32]] = {}
        for start in range(0, len(distinct), _CHUNK):
            found |= embed(encoder, distinct[start : start + _CHUNK])
            print(f"embedded {len(found)} of {len(distinct)} texts", file=sys.stderr, flush=True)
        _write(kept, np.array([found[text] for text in distinct]))
    matrix, places = np.load(kept), {text: place for place, text in enumerate(distinct)}
    return np.asarray(matrix[[places[text] for text in texts]])


def kept_file(kind: str, parts: Iterable[str], suffix: str) -> Path:
    """Where something computed from these parts is kept between runs."""
    digest = hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()[:24]
    folder = Path(tempfile.gettempdir()) / "fulcrum-benchmarks"
    folder.mkdir(exist_ok=True)
    return folder / f"{kind}-{digest}.{suffix}"


def _write(path: Path, matrix: NDArray[np.float32]) -> None:
    part = path.with_suffix(".part.npy")
    np.save(part, matrix)
    part.rename(path)
