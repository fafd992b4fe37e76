"""How long something takes on a GPU: out of a CUDA graph, so that no launch from Python is in it."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

COPIED_BYTES = 1 << 30
CLEARED_BYTES = 256 << 20  # more than any second-level cache
ROTATED_BYTES = 1 << 30
CALLS = 64  # in one graph, whose own launch is a few microseconds
ROUNDS = 30
WARM_UP = 3
COPIES = 500


def copy_bandwidth() -> float:
    """Bytes a second, read and written, of a copy on the device; not of a node in a graph, which takes a quarter more.

    On an H100: 2.43e12 in a graph, 3.00e12 by itself, as much as a kernel that scales each number moves.
    """
    source = torch.empty(COPIED_BYTES, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    median_seconds(lambda: target.copy_(source), COPIES)  # an idle GPU's clocks are low
    return 2 * COPIED_BYTES / median_seconds(lambda: target.copy_(source), COPIES)


def captured(call: Callable[[], Any]) -> Callable[[], Any]:
    """What replays `call`, which has run before, so that all that is made once was made outside of the graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream), torch.no_grad():
        for _ in range(WARM_UP):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad(), torch.cuda.graph(graph):
        kept = call()

    def replay(kept: Any = kept) -> None:  # its memory belongs to the graph
        graph.replay()

    return replay


def call_seconds(
    call: Callable[[Any], Any], inputs: Mapping[str, Any], calls: int = CALLS, rounds: int = ROUNDS
) -> float:
    """Of one call of many in one graph, so that no launch from the host is in it.

    Calls take turns over copies of the inputs, so that large ones are in no cache; small ones may be, as what was just
    computed is.
    """
    size = sum(tensor.nbytes for tensor in inputs.values())
    copies = [inputs]
    while len(copies) < min(calls, ROTATED_BYTES // size):
        copies.append({name: tensor.clone() for name, tensor in inputs.items()})

    def turns() -> None:
        for turn in range(calls):
            call(copies[turn % len(copies)])

    return median_seconds(captured(turns), rounds) / calls


def median_seconds(call: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """Of one call, each with the second-level cache cleared before it."""
    cleared = torch.empty(CLEARED_BYTES, dtype=torch.uint8, device="cuda")
    seconds = []
    for _ in range(rounds):
        cleared.zero_()
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        call()
        end.record()
        end.synchronize()
        seconds.append(begin.elapsed_time(end) / 1000)
    return float(np.median(seconds))


def step_seconds(step: Callable[[], Any], steps: int) -> float:
    """Of so many steps together, after as many to warm up."""
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    for event in (begin, end):
        for _ in range(steps):
            step()
        event.record()
    torch.cuda.synchronize()
    return float(begin.elapsed_time(end)) / 1000
