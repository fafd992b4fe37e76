"""Money saved by three ways to evict, on the same stream of requests under the same bound of bytes.

The stream has 20,000 prompts of Zipf popularity (exponent 0.9) that drifts: after every 50,000 of 400,000 requests
a tenth of the prompts changes places with others. Answers cost and weigh as in mixed traffic: output tokens are
log-normal (median 150, sigma 1), an answer has 4 bytes a token, its prompt and vector 2 KiB; 70 % are of a model at
$0.6 a million output tokens, 30 % of one at $15. Five seeds; the bound is a share of the bytes of all answers. Beside
ours (GDSF, services/cache/eviction.py): LRU, LFU that ages, and what would be saved without a bound.
"""

import argparse
import json
from collections.abc import Callable, Iterator

import numpy as np

from services.cache.entry import Partition, Standing
from services.cache.eviction import EvictionOrder, SavedPerByte
from services.cache.record import Record

PROMPTS, REQUESTS, DRIFT = 20_000, 400_000, 50_000
SHARES = (0.01, 0.05, 0.2)
HERE = Partition("t", bytes(16))
Worth = Callable[[Record, float], float]


def stream(rng: np.random.Generator) -> Iterator[int]:
    """Prompts as they are asked."""
    popularity = 1 / np.arange(1, PROMPTS + 1) ** 0.9
    popularity /= popularity.sum()
    place = rng.permutation(PROMPTS)
    for _ in range(REQUESTS // DRIFT):
        yield from place[rng.choice(PROMPTS, DRIFT, p=popularity)].tolist()
        moved = rng.choice(PROMPTS, PROMPTS // 10, replace=False)
        place[moved] = place[rng.permutation(moved)]


def replay(asked: list[int], sizes: list[int], costs: list[int], bound: int, worth: Worth) -> int:
    """Nano-dollars saved by a cache of `bound` bytes that evicts the least worth first."""
    kept: dict[int, Record] = {}
    order, used, saved = EvictionOrder(worth, kept), 0, 0
    for now, prompt in enumerate(asked):
        record = kept.get(prompt)
        if record is not None:
            saved += costs[prompt]
            record.hits, record.last_used_ns = record.hits + 1, now
            order.used(record)
            continue
        size = sizes[prompt]
        victims = []
        if used + size > bound:
            for victim in order.least(but=()):
                victims.append(victim)
                used -= victim.size
                if used + size <= bound:
                    break
        for victim in victims:
            order.evicted(victim)
            del kept[victim.sequence]
        kept[prompt] = Record(prompt, b"", HERE, "", size, 0, None, costs[prompt], Standing.TRUSTED, last_used_ns=now)
        used += size
        order.add(kept[prompt])
    return saved


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How often."""
    parser.add_argument("--seeds", type=int, default=5)


def run(arguments: argparse.Namespace) -> None:
    """Measures and prints; the last line is JSON: shares of what a cache without bound saves, mean and least."""
    found: dict[str, dict[str, list[float]]] = {}
    for seed in range(arguments.seeds):
        rng = np.random.default_rng(seed)
        tokens = rng.lognormal(np.log(150), 1, PROMPTS)
        prices = np.where(rng.random(PROMPTS) < 0.7, 600, 15_000)
        sizes = (2048 + 4 * tokens).astype(int).tolist()
        costs = (tokens * prices).astype(int).tolist()
        asked = list(stream(rng))
        most = sum(costs[prompt] for prompt in asked) - sum(costs[prompt] for prompt in set(asked))
        for share in SHARES:
            bound = int(share * sum(sizes))
            ways: dict[str, Worth] = {
                "saved per byte": SavedPerByte(10**9, bound),
                "LRU": lambda record, age: record.last_used_ns,
                "LFU": lambda record, age: age + record.hits + 1,
            }
            for name, worth in ways.items():
                saved = replay(asked, sizes, costs, bound, worth) / most
                found.setdefault(f"{share:.0%}", {}).setdefault(name, []).append(saved)
    for bound_share, ways_found in found.items():
        shown = (f"{name} {np.mean(s):.1%} (from {min(s):.1%})" for name, s in ways_found.items())
        print(f"room for {bound_share} of all answers, money saved of what is to be saved: {', '.join(shown)}")
    print(json.dumps({b: {name: round(float(np.mean(s)), 4) for name, s in w.items()} for b, w in found.items()}))
