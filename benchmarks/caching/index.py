"""What a search for neighbours costs and finds at 10k, 100k and a million vectors, and how long a restart takes.

`python -m benchmarks.caching index --data FILE...`: rows of `text`, or `text_a` and `text_b`, as .jsonl or .jsonl.gz
(CLINC150, banking77, Quora questions); without it, questions that models/tasks makes up. 1,000 texts are held out as
queries. 10k and 100k are embeddings of texts as they are, as many as there are. The million are perturbed ones: every
text's embedding about as often, each time with Gaussian noise of length 0.3 added and brought back to length 1 (cosine
0.96 to its text), and asked two ways: by the held-out texts, and by fresh perturbations of known ones. The truth is a
float32 matrix product over everything. Baseline in the same run: the exact index, on 100 queries.
"""

import argparse
import gzip
import json
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cache_rule import embed
from benchmarks.caching.restart import restart
from models import tasks
from services.cache import nearest
from services.cache.faiss_nearest import ClusteredNearest, ExactNearest, ScannedNearest
from services.cache.nearest import Nearest, Vectors
from services.executor.sentence_encoder import SentenceEncoder

Matrix = NDArray[np.float32]
QUERIES, NEIGHBOURS = 1000, 8
NOISE = 0.3
BLOCK = 50_000


def texts_of(paths: list[Path]) -> list[str]:
    """Different texts in an order that the seed fixes."""
    found: set[str] = set()
    for path in paths:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
            for line in lines:
                row = json.loads(line)
                found.update(row[key] for key in ("text", "text_a", "text_b") if key in row)
    rng = random.Random(0)
    texts = sorted(found or {tasks.sample(rng).prompt for _ in range(20_000)})
    rng.shuffle(texts)
    return texts


def embeddings(texts: list[str], encoder: Path) -> Matrix:
    """One unit vector a text, int8."""
    vectors = embed(SentenceEncoder(encoder, "int8", 2), texts)
    return np.array([vectors[text] for text in texts])


def perturbed(base: Matrix, count: int, rng: np.random.Generator) -> Matrix:
    """`count` vectors, each row of `base` about as often, with noise of length NOISE."""
    made = np.empty((count, base.shape[1]), np.float32)
    for start in range(0, count, BLOCK):
        rows = base[np.arange(start, min(start + BLOCK, count)) % len(base)]
        rows = rows + rng.standard_normal(rows.shape, dtype=np.float32) * (NOISE / np.sqrt(base.shape[1]))
        made[start : start + len(rows)] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return made


def truth(matrix: Matrix, queries: Matrix) -> NDArray[np.int64]:
    """The row nearest to each query."""
    best, where = np.full(len(queries), -2.0, np.float32), np.zeros(len(queries), np.int64)
    for start in range(0, len(matrix), BLOCK):
        near = queries @ matrix[start : start + BLOCK].T
        top = near.argmax(1)
        value = near[np.arange(len(queries)), top]
        where = np.where(value > best, start + top, where)
        best = np.maximum(best, value)
    return where


def measure(index: Nearest, queries: Matrix, right: NDArray[np.int64]) -> dict[str, float]:
    """Milliseconds a search by the clock and of CPU, and the share of queries whose nearest is found."""
    wall, cpu, found = [], [], 0
    for query, expected in zip(queries, right, strict=True):
        begin, begin_cpu = time.perf_counter(), time.thread_time()
        near = index.search(query, NEIGHBOURS)
        wall.append(time.perf_counter() - begin)
        cpu.append(time.thread_time() - begin_cpu)
        found += near[0][0] == expected
    figures = {f"p{p}_ms": float(np.percentile(wall, p)) * 1e3 for p in (50, 99)}
    figures |= {f"p{p}_cpu_ms": float(np.percentile(cpu, p)) * 1e3 for p in (50, 99)}
    return {name: round(value, 3) for name, value in figures.items()} | {"recall_at_1": found / len(queries)}


def compare(matrix: Matrix, asked: dict[str, Matrix]) -> tuple[Nearest, dict[str, Any]]:
    """The index that the cache would choose for these vectors, measured beside the exact one."""
    stored = Vectors(np.arange(len(matrix)), matrix)
    exact = ExactNearest.of(stored, matrix.shape[1])
    right = {name: truth(matrix, queries) for name, queries in asked.items()}
    name, queries = next(iter(asked.items()))
    figures: dict[str, Any] = {"vectors": len(matrix), "exact": measure(exact, queries[:100], right[name][:100])}
    begin = time.process_time()
    index: Nearest = exact
    if len(matrix) >= nearest.LARGE:
        del exact
        index = ClusteredNearest.of(stored)
    elif len(matrix) >= nearest.SCANNED:
        index = ScannedNearest.of(stored, matrix.shape[1])
    figures |= {"index": type(index).__name__, "build_cpu_s": round(time.process_time() - begin, 1)}
    figures["memory_mib"] = round(index.bytes / 2**20, 1)
    return index, figures | {name: measure(index, asked[name], right[name]) for name in asked}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to measure on."""
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="files of texts")
    parser.add_argument("--encoder", type=Path, default=Path(".models/all-MiniLM-L6-v2"))
    parser.add_argument("--vectors", type=Path, help="embeddings of an earlier run (.npy), written where missing")
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])


def run(arguments: argparse.Namespace) -> None:
    """Measures and prints; the last line is JSON."""
    if arguments.vectors and arguments.vectors.exists():
        real = np.load(arguments.vectors)
    else:
        real = embeddings(texts_of(arguments.data), arguments.encoder)
        if arguments.vectors:
            np.save(arguments.vectors, real)
    held, base = real[:QUERIES], real[QUERIES:]
    rng = np.random.default_rng(0)
    found: dict[str, Any] = {}
    for size in arguments.sizes:
        as_they_are = size <= 100_000
        matrix = base[:size] if as_they_are else perturbed(base, size, rng)
        near = perturbed(base[rng.choice(len(base), QUERIES, replace=False)], QUERIES, rng)
        index, figures = compare(matrix, {"held_out": held} if as_they_are else {"held_out": held, "perturbed": near})
        if size == max(arguments.sizes):
            figures["restart"] = restart(matrix, index, held[0])
        print(json.dumps({"size": size, **figures}), flush=True)
        found[str(size)] = figures
    print(json.dumps(found))
