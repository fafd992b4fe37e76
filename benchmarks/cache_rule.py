"""What the cache's fixed rule serves and gets wrong on public sets; the source of the figures in cache/decision.py.

`python -m benchmarks.cache_rule --data FOLDER` with banking77_train, clinc150_dev and qqp_dev as .jsonl.gz: rows of
`text` and `category` (PolyAI banking77, CLINC150), or of `text_a`, `text_b` and `label` (Quora Question Pairs).
The baseline beside it is the same similarity alone, without vetoes.
"""

import argparse
import gzip
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta
from sklearn.isotonic import IsotonicRegression

from models import tasks
from services.cache.sketch import Sketch, sketch
from services.cache.vetoes import veto
from services.executor.sentence_encoder import SentenceEncoder, Tokens

FROM = 0.8  # the settings' min_similarity
NEIGHBOURS = 8  # as answer_cache
BATCH = 64
Vectors = Mapping[str, NDArray[np.float32]]
Event = tuple[float, bool]  # similarity, right


def embed(encoder: SentenceEncoder, texts: Iterable[str]) -> Vectors:
    """The unit vector of each text."""
    tokens = {text: encoder.tokenise(text) for text in set(texts)}
    order = sorted(tokens, key=lambda text: len(tokens[text].ids))
    vectors: dict[str, NDArray[np.float32]] = {}
    batch: list[str] = []

    def flush() -> None:
        if batch:
            rows: Sequence[Tokens] = [tokens[text] for text in batch]
            vectors.update(zip(batch, encoder.encode(rows), strict=True))
            batch.clear()

    for text in order:
        if len(batch) == BATCH or (batch and len(tokens[batch[0]].ids) != len(tokens[text].ids)):
            flush()
        batch.append(text)
    flush()
    return vectors


def stream(texts: Sequence[str], answers: Sequence[str], vectors: Vectors, vetoes: bool) -> list[Event]:
    """Served lookups of a replay in which every prompt is stored after it was looked up."""
    matrix = np.array([vectors[text] for text in texts])
    sketches: list[Sketch] = [sketch(text) for text in texts]
    events = []
    for i in range(1, len(texts)):
        similarities = matrix[:i] @ matrix[i]
        near = np.flatnonzero(similarities >= FROM)
        for j in near[np.argsort(-similarities[near])][:NEIGHBOURS]:
            if not vetoes or veto(sketches[i], sketches[j]) is None:
                events.append((float(similarities[j]), answers[i] == answers[j]))
                break
    return events


def pairs(rows: Sequence[Mapping[str, Any]], vectors: Vectors, vetoes: bool) -> list[Event]:
    """Labelled pairs that would be served."""
    events = []
    for row in rows:
        similarity = float(vectors[row["text_a"]] @ vectors[row["text_b"]])
        if similarity >= FROM and not (vetoes and veto(sketch(row["text_a"]), sketch(row["text_b"]))):
            events.append((similarity, bool(row["label"])))
    return events


def report(name: str, events: Sequence[Event], of: int) -> None:
    """Prints shares of all requests, with the 95 % interval of the wrong ones (Clopper-Pearson)."""
    wrong = sum(not right for _, right in events)
    low = beta.ppf(0.025, wrong, of - wrong + 1) if wrong else 0.0
    high = beta.ppf(0.975, wrong + 1, of - wrong)
    shares = f"hits {len(events) / of:.3f}  wrong of all {wrong / of:.5f} [{low:.5f}, {high:.5f}]"
    print(f"{name:34s} n={of:6d}  {shares}  wrong of served {wrong / max(len(events), 1):.4f}")


def fit(sources: Sequence[Sequence[Event]]) -> list[tuple[float, float, int]]:
    """(similarity from, share right, neighbours), isotonic, every source with the same weight."""
    rows = [(similarity, right, 1 / len(source)) for source in sources for similarity, right in source]
    similarities, right, weights = np.array(rows).T
    shares = IsotonicRegression().fit(similarities, right, weights).predict(similarities)
    steps = {share: shares.round(4) == share for share in np.unique(shares.round(4))}
    return [(float(similarities[of].min()), float(share), int(of.sum())) for share, of in steps.items()]


def main() -> None:
    """Prints every figure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cache_rule")
    parser.add_argument("--data", type=Path, required=True, help="folder of the three .jsonl.gz files")
    parser.add_argument("--encoder", type=Path, default=Path(".models/all-MiniLM-L6-v2"))
    arguments = parser.parse_args()
    encoder, rng = SentenceEncoder(arguments.encoder, "fp32", 2), random.Random(0)
    asked = [tasks.sample(rng) for _ in range(4000)]
    texts, keys = [q.prompt for q in asked], [q.answer for q in asked]
    vectors = embed(encoder, texts)
    for vetoes in (False, True):
        report(f"models/tasks, vetoes {vetoes}", stream(texts, keys, vectors, vetoes), len(texts))
    measured = []
    for name in ("banking77_train", "clinc150_dev", "qqp_dev"):
        with gzip.open(arguments.data / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        rng.shuffle(rows)
        vectors = embed(encoder, (row[key] for row in rows for key in ("text", "text_a", "text_b") if key in row))
        for vetoes in (False, True):
            if "label" in rows[0]:
                events = pairs(rows, vectors, vetoes)
            else:
                texts, keys = [row["text"] for row in rows], [row["category"] for row in rows]
                events = stream(texts, keys, vectors, vetoes)
            report(f"{name}, vetoes {vetoes}", events, len(rows))
        measured.append(events)
    print("similarity from, share right, neighbours:", fit(measured))


if __name__ == "__main__":
    main()
