"""The share of prompt blocks that a bounded prefix cache saves, under the executor's eviction and three others.

`python -m benchmarks.prefix --trace FILE --capacity-tokens N`, with a trace of one JSON object a line, plain or .gz, in
the format of Mooncake's (Qin et al., FAST 2025): `hash_ids` names each 512-token block of a prompt by the whole prefix
that it ends. Requests come one after the other; each looks up its longest kept prefix, and then its blocks are kept.
All evictions run on the executor's own tree: leased blocks stay, and prefixes are shortened from their ends. Belady
looks ahead, the others do not. Nothing is drawn at random. `--halves` replays each half of the trace by itself as well,
from empty: choices that were made on one half can be checked on the other. `--tenants` deals the conversations out, by
their second block, to so many tenants that find none of one another's prefixes.
"""

import argparse
import gzip
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.prefix_policies import Belady, LeastRecentlyUsed, S3Fifo
from services.executor.prefix_eviction import LeastWorth
from services.executor.prefix_tree import Eviction, PrefixTree

BLOCK_TOKENS = 512
Requests: TypeAlias = Sequence[Sequence[int]]
POLICIES: dict[str, Callable[[int, Requests], Eviction]] = {
    "ours": lambda capacity, _: LeastWorth(capacity),
    "lru": lambda *_: LeastRecentlyUsed(),
    "s3fifo": lambda capacity, _: S3Fifo(capacity),
    "belady": lambda _, requests: Belady(requests),
}


def read_trace(path: Path) -> Requests:
    """The blocks of each request in order.

    Raises:
        ValueError: a line is not a request; names it.
    """
    requests = []
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        for number, line in enumerate(lines, 1):
            try:
                ids = json.loads(line)["hash_ids"]
            except (ValueError, KeyError, TypeError):
                ids = None
            if not isinstance(ids, list) or not all(isinstance(block, int) for block in ids):
                raise ValueError(f"{path}, line {number}: expected an object with hash_ids, a list of whole numbers")
            requests.append(ids)
    if not any(requests):
        raise ValueError(f"{path}: expected at least one request with a block")
    return requests


def dealt(requests: Requests, tenants: int) -> Requests:
    """The same with blocks that no two tenants have in common; each one's tenant is its remainder."""
    owners = [(keys[1:2] or keys or [0])[0] % tenants for keys in requests]
    return [[key * tenants + owner for key in keys] for keys, owner in zip(requests, owners, strict=True)]


def replay(
    requests: Requests, tenants: int, capacity: int, eviction: Eviction, name: str, console: Console
) -> tuple[float, float]:
    """The share of blocks that were found, and CPU microseconds a block."""
    tree = PrefixTree(capacity, eviction)
    found = total = 0
    begin = time.process_time()
    for keys in track(requests, name, console=console, transient=True, update_period=0.5):
        tenant = keys[0] % tenants if keys else 0
        lease = tree.match(tenant, keys)
        found += lease.kept
        total += len(keys)
        tree.release(lease)
        tree.release(tree.insert(tenant, keys))
    return found / total, (time.process_time() - begin) / total * 1e6


def compare(
    requests: Requests, tenants: int, capacity: int, title: str, console: Console
) -> dict[str, dict[str, float]]:
    """Replays under each eviction, and prints a table."""
    results = {
        name: replay(requests, tenants, capacity, make(capacity, requests), name, console)
        for name, make in POLICIES.items()
    }
    table = Table("eviction", "blocks found", "CPU us a block", title=f"{title}: {capacity} blocks")
    for name, (ratio, cost) in results.items():
        table.add_row(name, f"{ratio:.4f}", f"{cost:.1f}")
    console.print(table)
    return {
        "hit_ratio": {name: round(ratio, 4) for name, (ratio, _) in results.items()},
        "cpu_us_per_block": {name: round(cost, 1) for name, (_, cost) in results.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--trace", type=Path, required=True, help="requests, one JSON object a line, .gz or plain")
    parser.add_argument("--capacity-tokens", type=float, required=True, help=f"at least {BLOCK_TOKENS}; 3e6 will do")
    parser.add_argument("--halves", action="store_true", help="each half of the trace by itself as well")
    parser.add_argument("--tenants", type=int, default=1, help="who share the memory (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.tenants < 1:
        parser.error(f"--tenants: got {arguments.tenants}, expected at least 1")
    if not BLOCK_TOKENS <= arguments.capacity_tokens < 1e12:
        parser.error(f"--capacity-tokens: got {arguments.capacity_tokens:g}, expected at least {BLOCK_TOKENS}")
    try:
        requests = dealt(read_trace(arguments.trace), arguments.tenants)
    except (OSError, ValueError, EOFError) as error:
        parser.error(f"--trace: {error}")
    capacity = int(arguments.capacity_tokens) // BLOCK_TOKENS
    console = Console(stderr=True)
    if arguments.halves:
        middle = len(requests) // 2
        compare(requests[:middle], arguments.tenants, capacity, "first half", console)
        compare(requests[middle:], arguments.tenants, capacity, "second half", console)
    print(json.dumps(compare(requests, arguments.tenants, capacity, arguments.trace.name, console)))


if __name__ == "__main__":
    main()
