"""`stream`: hits and wrong answers of the cache's decision on labelled traffic from a cold start, seed by seed."""

import argparse
import gzip
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import SupportsFloat, TextIO

import numpy as np

from benchmarks.caching.baselines import Shares, static, vcache
from benchmarks.caching.replay import Replay, Start, Step
from benchmarks.caching.traffic import Traffic, load
from benchmarks.caching.warm import warmed_by

_PROCESSES = 2
_NICE = 15
_EARLY = (500, 1000, 2000)  # first requests, of which hits are told apart
_read = lru_cache(1)(load)


@dataclass(frozen=True)
class Seed:
    """What one seed came to; shares of all requests."""

    seed: int
    requests: int
    hits: float
    early_hits: tuple[float, ...]
    wrong: float
    realised_estimate: float
    certified: float
    vcache: Shares
    static: Shares
    trace: tuple[str, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.add_argument("--data", type=Path, required=True, help=".jsonl[.gz] of `text` and `category`")
    parser.add_argument("--bound", type=float, default=0.01, help="share of requests that may be answered wrongly")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--judge-error", type=float, default=0.0, help="share of verdicts turned round at random")
    parser.add_argument("--judged", type=float, default=1.0, help="share of executed requests that a judge can tell")
    parser.add_argument("--warm", type=Path, help="labelled pairs or a log, as `fulcrum cache warm` takes them")
    parser.add_argument("--trace", type=Path, help="writes every decision, a JSON object a line; .gz compresses")


def run(arguments: argparse.Namespace) -> None:
    """Prints a line for each seed to standard error, and the means as JSON."""
    load(arguments.data)  # embeds once, before there are two processes
    start = Start(
        arguments.bound, arguments.judge_error, arguments.judged, warmed_by(arguments.warm) if arguments.warm else None
    )
    job = partial(_seed, arguments.data, start, arguments.trace is not None)
    done: list[Seed] = []
    with ExitStack() as stack:
        trace = stack.enter_context(_open(arguments.trace)) if arguments.trace else None
        pool = stack.enter_context(get_context("spawn").Pool(_PROCESSES, os.nice, (_NICE,)))
        for seed in pool.imap_unordered(job, range(arguments.seeds)):
            done.append(seed)
            _progress(seed, len(done), arguments.seeds)
            if trace:
                trace.writelines(seed.trace)
    print(json.dumps(_summary(done, arguments.bound)))


def _seed(path: Path, start: Start, traced: bool, seed: int) -> Seed:
    traffic, bound = _read(path), start.bound
    replay = Replay(traffic, seed, start)
    steps = list(replay)
    wrong = sum(step.hit and not step.right for step in steps)
    return Seed(
        seed,
        len(steps),
        sum(step.hit for step in steps) / len(steps),
        tuple(sum(step.hit for step in steps[:first]) / len(steps[:first]) for first in _EARLY),
        wrong / len(steps),
        replay.scope.risk.realised,
        replay.scope.risk.certified,
        vcache(traffic, seed, bound),
        static(traffic, seed, bound),
        tuple(_lines(traffic, seed, steps)) if traced else (),
    )


def _lines(traffic: Traffic, seed: int, steps: Sequence[Step]) -> Iterator[str]:
    for number, step in enumerate(steps):
        candidate = step.candidate
        about = {
            "seed": seed,
            "request": number,
            **asdict(step),
            "category": traffic.categories[step.place],
            "candidate_category": None if candidate is None else traffic.categories[candidate],
        }
        yield json.dumps(about) + "\n"


def _open(path: Path) -> TextIO:
    return gzip.open(path, "wt", encoding="utf-8") if path.suffix == ".gz" else path.open("w", encoding="utf-8")


def _progress(seed: Seed, done: int, of: int) -> None:
    shares = f"hits {seed.hits:.4f}  wrong of all {seed.wrong:.5f}  certified {seed.certified:.4f}"
    baselines = f"vcache {seed.vcache.hits:.4f}  static {seed.static.hits:.4f}"
    print(f"{done:4d} of {of}  seed {seed.seed:3d}  {shares}  {baselines}", file=sys.stderr, flush=True)


def _summary(seeds: Sequence[Seed], bound: float) -> dict[str, object]:
    hits = np.array([seed.hits for seed in seeds])
    wrong = np.array([seed.wrong for seed in seeds])
    return {
        "hits": _rounded(hits.mean()),
        "early_hits": {
            str(first): _rounded(np.mean([seed.early_hits[place] for seed in seeds]))
            for place, first in enumerate(_EARLY)
        },
        "wrong_of_all": _rounded(wrong.mean()),
        "wrong_of_served": _rounded((wrong / np.maximum(hits, 1e-9)).mean()),
        "seeds_over_bound": int((wrong > bound).sum()),
        "seeds": len(seeds),
        "worst_wrong_of_all": _rounded(wrong.max()),
        "realised_estimate": _rounded(np.mean([seed.realised_estimate for seed in seeds])),
        "certified_bound": _rounded(np.mean([seed.certified for seed in seeds])),
        "seeds_over_certificate": sum(seed.wrong > seed.certified for seed in seeds),
        "baselines": {
            name: {
                "hits": _rounded(np.mean([shares.hits for shares in found])),
                "wrong_of_all": _rounded(np.mean([shares.wrong for shares in found])),
                "seeds_over_bound": sum(shares.wrong > bound for shares in found),
            }
            for name, found in (
                ("vcache", [seed.vcache for seed in seeds]),
                ("static", [seed.static for seed in seeds]),
            )
        },
    }


def _rounded(value: SupportsFloat) -> float:
    return round(float(value), 5)
