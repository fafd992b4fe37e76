"""The gate lets in what the models keep up with and finds that number by itself."""

import asyncio
import math
import time
from contextlib import ExitStack

import pytest

from services.chassis.errors import Overloaded
from services.edge.execution_gate import ExecutionGate

NEVER = math.inf


def overloaded() -> Overloaded:
    return Overloaded("queue", 1, "0", retry_after_s=1.0)


def end(gate: ExecutionGate, error: BaseException, deadline: float = NEVER, after_s: float = 0.0) -> None:
    place = gate.place(deadline)
    place.__enter__()
    time.sleep(after_s)
    assert place.__exit__(type(error), error, None) is not True


def test_a_full_gate_refuses_with_a_delay() -> None:
    """Beyond the limit nothing is let in, and the refusal says when to come back; a place comes free."""
    gate = ExecutionGate(2)
    with gate.place(NEVER):
        with gate.place(NEVER), pytest.raises(Overloaded) as caught, gate.place(NEVER):
            pass
        assert caught.value.retry_after_s
        with gate.place(NEVER):
            pass
    assert gate.under_way == 0


def test_refusals_of_a_model_shrink_it_once_a_crowd() -> None:
    """Of executions that began together and are refused together, the first shrinks the limit and the rest do not."""
    gate = ExecutionGate(16)
    with ExitStack() as crowd:
        for _ in range(10):
            crowd.enter_context(gate.place(NEVER))
        for one in [gate.place(NEVER) for _ in range(5)]:
            with pytest.raises(Overloaded), one:
                raise overloaded()
            assert gate.limit == 9  # a tenth below the eleven of the first


def test_it_never_closes_and_grows_back() -> None:
    """However often it shrinks one execution is let in, and success opens it again, up to the most."""
    gate = ExecutionGate(8)
    for _ in range(200):
        end(gate, overloaded())
    assert gate.limit == 1
    for _ in range(300):
        with ExitStack() as crowd:
            for _ in range(gate.limit):
                crowd.enter_context(gate.place(NEVER))
    assert gate.limit == 8


def test_it_opens_quickly_until_the_first_overload() -> None:
    """A new gate takes a crowd of remote models' size after as many answers as that."""
    gate = ExecutionGate(256)
    for _ in range(300):
        with ExitStack() as crowd:
            for _ in range(gate.limit):
                crowd.enter_context(gate.place(NEVER))
        if gate.limit == 256:
            break
    assert gate.limit == 256


def test_a_missed_deadline_counts_only_where_it_left_time_enough() -> None:
    """A caller in a greater hurry than any model could meet, or one that leaves of itself, shrinks nothing."""
    gate = ExecutionGate(8)
    with gate.place(NEVER):
        time.sleep(0.02)
    now = time.monotonic()
    end(gate, asyncio.CancelledError(), deadline=now - 0.001)  # gave less than one takes
    end(gate, asyncio.CancelledError(), deadline=now + 60)  # left before its time
    end(gate, Overloaded("requests", 1, "0", reason="RATE_LIMITED"))
    assert gate.limit == 8
    end(gate, asyncio.CancelledError(), deadline=time.monotonic() + 0.05, after_s=0.06)
    assert gate.limit < 8
