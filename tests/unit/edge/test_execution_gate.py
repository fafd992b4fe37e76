"""The gate lets in what the models keep up with and finds that number by itself."""

import asyncio
from contextlib import ExitStack

import pytest

from services.chassis.errors import Overloaded
from services.edge.execution_gate import ExecutionGate


def overloaded() -> Overloaded:
    return Overloaded("queue", 1, "0", retry_after_s=1.0)


def end(gate: ExecutionGate, error: BaseException) -> None:
    place = gate.place()
    place.__enter__()()
    assert place.__exit__(type(error), error, None) is not True


def execute(gate: ExecutionGate) -> None:
    """As many as it lets in, all to a good end."""
    with ExitStack() as crowd:
        for _ in range(gate.limit):
            crowd.enter_context(gate.place())()


def test_a_full_gate_refuses_with_a_delay() -> None:
    """Beyond the limit nothing is let in, and the refusal says when to come back; a place comes free."""
    gate = ExecutionGate(2)
    with gate.place():
        with gate.place(), pytest.raises(Overloaded) as caught, gate.place():
            pass
        assert caught.value.retry_after_s
        with gate.place():
            pass
    assert gate.under_way == 0


def test_refusals_of_a_model_shrink_it_once_a_crowd() -> None:
    """Of executions that began together and are refused together, the first shrinks the limit and the rest do not."""
    gate = ExecutionGate(16)
    with ExitStack() as crowd:
        for _ in range(10):
            crowd.enter_context(gate.place())
        for one in [gate.place() for _ in range(5)]:
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
        execute(gate)
    assert gate.limit == 8


def test_it_opens_quickly_until_the_first_overload() -> None:
    """A new gate takes a crowd of remote models' size after as many answers as that."""
    gate = ExecutionGate(256)
    for _ in range(300):
        execute(gate)
        if gate.limit == 256:
            break
    assert gate.limit == 256


def test_callers_who_leave_and_limits_of_others_shrink_nothing() -> None:
    """One tenant's short deadlines, or what a provider allows us, tell nothing of what the models keep up with."""
    gate = ExecutionGate(8)
    for _ in range(20):
        end(gate, asyncio.CancelledError())
        end(gate, Overloaded("requests", 1, "0", reason="RATE_LIMITED"))
    assert gate.limit == 8


def test_what_was_not_executed_opens_nothing() -> None:
    """A request that the cache answered after all says nothing of the models."""
    gate = ExecutionGate(256)
    for _ in range(20):
        with ExitStack() as crowd:
            for _ in range(gate.limit):
                crowd.enter_context(gate.place())
    assert gate.limit == ExecutionGate(256).limit
