"""`judge`: from and to which similarity answers count as the same and as different, for a wanted share of mistakes."""

import argparse
import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.caching.corpus import rows_of, vectors_of
from benchmarks.caching.pairs import folds_of
from services.edge.chat import Message, Request
from services.edge.judges import Comparison, Equality
from services.edge.words import read_over

_CHOOSING_FOLDS = 3  # of five; the other two check what was chosen

Flags = NDArray[np.bool_]
Cosines = NDArray[np.float64]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help=".jsonl[.gz] of `text_a`, `text_b` and `label`, 1 where they say the same",
    )
    parser.add_argument("--error", type=float, default=0.05, help="share of each kind of verdict that may be wrong")


def run(arguments: argparse.Namespace) -> None:
    """Prints the two similarities, and how both judges do with them on pairs that did not choose them, as JSON."""
    rows = rows_of(arguments.data)
    same = np.array([bool(row["label"]) for row in rows])
    told = asyncio.run(_equality([(row["text_a"], row["text_b"]) for row in rows]))
    open_ = np.array([verdict is None for verdict in told])
    shown = open_ & np.array([not read_over(row["text_a"], row["text_b"]) for row in rows])
    vectors = vectors_of([text for row in rows for text in (row["text_a"], row["text_b"])])
    cosines = np.nan_to_num((vectors[0::2] * vectors[1::2]).sum(1)).astype(np.float64)
    choosing = folds_of([(row["text_a"], row["text_b"]) for row in rows]) < _CHOOSING_FOLDS
    same_from, _ = thresholds(cosines[shown & choosing], same[shown & choosing], arguments.error)
    _, different_to = thresholds(cosines[open_ & choosing], same[open_ & choosing], arguments.error)
    checked = open_ & ~choosing
    by_words = np.array([verdict is True for verdict in told]), np.array([verdict is False for verdict in told])
    by_vectors = checked & shown & (cosines >= same_from), checked & (cosines <= different_to)
    report = {
        "same_from": round(same_from, 3),
        "different_to": round(different_to, 3),
        "equality": _report(*by_words, same, len(same)),
        "similarity": _report(*by_vectors, same, int(checked.sum())),
    }
    print(json.dumps(report))


def thresholds(cosines: Cosines, same: Flags, error: float) -> tuple[float, float]:
    """The least cosine with at most `error` of all from it on not the same, and the largest the other way round."""
    return _outermost(cosines, ~same, error), -_outermost(-cosines, same, error)


def _outermost(scores: Cosines, wrong: Flags, error: float) -> float:
    order = np.argsort(-scores, kind="stable")
    shares = np.cumsum(wrong[order]) / np.arange(1, len(order) + 1)
    within = np.flatnonzero(shares <= error)
    return float(scores[order[within[-1]]]) if len(within) else float("inf")


async def _equality(pairs: Sequence[tuple[str, str]]) -> list[bool | None]:
    judge, request = Equality(), Request("", "", (Message("user", "?"),))
    return [await judge.same(Comparison(request, one, other)) for one, other in pairs]


def _report(said_same: Flags, said_different: Flags, same: Flags, of: int) -> dict[str, float | int]:
    """Shares of the `of` pairs by verdict, and of each kind of verdict the share that is wrong."""
    return {
        "pairs": of,
        "says_same": round(float(said_same.sum() / of), 4),
        "wrong_same": round(float((~same[said_same]).mean()), 4) if said_same.any() else 0.0,
        "says_different": round(float(said_different.sum() / of), 4),
        "wrong_different": round(float(same[said_different].mean()), 4) if said_different.any() else 0.0,
    }
