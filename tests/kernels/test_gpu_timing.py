"""How `benchmarks.gpu` measures, over a device of which each call on the stream takes a second."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from benchmarks import gpu_timing


class Clock:
    """A stream that is always done: what is called moves the time, and an event remembers it.

    Classes and methods are those of torch.cuda by name; what is called while a graph is captured takes no time.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.calls = 0
        self.captured: list[int] = []
        clock = self

        class Event:
            def __init__(self, enable_timing: bool) -> None:
                assert enable_timing

            def record(self) -> None:
                self.at = clock.now

            def synchronize(self) -> None:
                pass

            def elapsed_time(self, end: Any) -> float:
                return 1000 * float(end.at - self.at)

        class Stream:
            def wait_stream(self, other: Any) -> None:
                assert isinstance(other, Stream)

        class CUDAGraph:
            def replay(self) -> None:
                clock.now += sum(clock.captured)

        @contextmanager
        def graph(made: CUDAGraph) -> Iterator[None]:
            before, self.now = self.now, 0.0
            yield
            self.captured.append(int(self.now))
            self.now = before

        for one in (Event, Stream, CUDAGraph):
            assert {name for name in vars(one) if not name.startswith("_")} <= set(
                dir(getattr(torch.cuda, one.__name__))
            )
            patch.setattr(torch.cuda, one.__name__, one)
        patch.setattr(torch.cuda, "graph", graph)
        patch.setattr(torch.cuda, "stream", lambda stream: torch.no_grad())
        patch.setattr(torch.cuda, "current_stream", Stream)
        patch.setattr(torch.cuda, "synchronize", lambda: None)
        empty = torch.empty
        patch.setattr(torch, "empty", lambda *sizes, device, **rest: empty(*sizes, **rest))
        patch.setattr(gpu_timing, "CLEARED_BYTES", 1 << 10)
        patch.setattr(gpu_timing, "COPIED_BYTES", 1 << 10)

    def work(self) -> str:
        """A second on the stream."""
        self.now += 1
        self.calls += 1
        return "result"


def test_a_graph_is_captured_once_and_warm(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is timed has run before, so that nothing is made within the graph, and a replay calls nothing."""
    clock = Clock(monkeypatch)
    replay = gpu_timing.captured(lambda: (clock.work(), clock.work()))
    assert clock.calls == 2 * (gpu_timing.WARM_UP + 1)
    assert gpu_timing.median_seconds(replay) == 2
    assert clock.calls == 2 * (gpu_timing.WARM_UP + 1)


def test_calls_take_turns_over_inputs_that_no_cache_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """All in one graph, whose time is that of one call; as many copies as there are bytes for, or calls."""
    clock = Clock(monkeypatch)
    monkeypatch.setattr(gpu_timing, "ROTATED_BYTES", 3 * 400)
    seen: list[int] = []

    def call(given: Any) -> None:
        seen.append(given["x"].data_ptr())
        clock.work()

    assert gpu_timing.call_seconds(call, {"x": torch.zeros(100)}, calls=6) == 1
    assert len(set(seen[:3])) == 3
    assert seen[:3] == seen[3:6]
    seen.clear()
    clock.captured.clear()
    assert gpu_timing.call_seconds(call, {"x": torch.zeros(1)}, calls=2) == 1
    assert len(set(seen)) == 2
    clock.captured.clear()
    assert gpu_timing.call_seconds(call, {"x": torch.zeros(5000)}, calls=2) == 1


def test_the_median_is_of_single_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """One slow call in many does not show."""
    clock = Clock(monkeypatch)

    def sometimes_slow() -> None:
        clock.work()
        clock.now += 100 if clock.calls == 7 else 0

    assert gpu_timing.median_seconds(sometimes_slow) == 1
    assert clock.calls == gpu_timing.ROUNDS


def test_steps_are_measured_together_after_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """All steps between two events, warmed up by as many before the first."""
    clock = Clock(monkeypatch)
    assert gpu_timing.step_seconds(clock.work, 5) == 5
    assert clock.calls == 10


def test_a_copy_reads_and_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy bandwidth counts each byte twice; what warms the GPU up does not count."""
    Clock(monkeypatch)
    took = iter((0.9, 0.5))
    monkeypatch.setattr(gpu_timing, "median_seconds", lambda call, rounds: call() is None or next(took))
    assert gpu_timing.copy_bandwidth() == 2 * (1 << 10) / 0.5
