"""What edge knows of a conversation's last turn, and of models' speeds, and that the router is told."""

import asyncio
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from fulcrum.router.v1 import objective_pb2
from fulcrum.router.v1 import router_service_pb2 as router_pb

from services.edge.bindings import RouterBinding
from services.edge.chat import (
    CacheControl,
    CacheNote,
    Finish,
    FinishReason,
    Message,
    Objective,
    Outcome,
    Request,
    TextDelta,
    Usage,
)
from services.edge.conversations import Conversations, Held, turn_digests
from services.edge.ports import Circumstances, Speed
from services.edge.price import ListPrice, Price
from services.edge.speeds import Speeds
from tests.unit.edge.parts import LARGE, LARGE_PRICE, SMALL, SMALL_PRICE, Bench, request

KEPT_S = 300.0


def answered(model: str, usage: Usage | None) -> Outcome:
    return Outcome(model, Finish(FinishReason.STOP, usage), CacheNote("miss"))


def going_on(earlier: Request, answer: str, prompt: str) -> Request:
    turns = (*earlier.messages, Message("assistant", answer), Message("user", prompt))
    return replace(earlier, messages=turns)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def known(usage: Usage, price: Price | None, model: str = LARGE) -> tuple[Conversations, Clock, Request]:
    clock = Clock()
    conversations = Conversations(100, KEPT_S, clock)
    first = request("What is it?", system="Be brief.")
    conversations.after(turn_digests(first), answered(model, usage), price)
    return conversations, clock, first


@pytest.mark.parametrize(
    ("usage", "price", "held"),
    [
        (Usage(input_tokens=5000), LARGE_PRICE, 4992),  # in steps of 128
        (Usage(input_tokens=1000), LARGE_PRICE, 0),  # providers hold none so short
        (Usage(input_tokens=5000), ListPrice(1, 1, 1, 1), 0),  # a prefix that saves nothing
        (Usage(input_tokens=5000), None, 0),
        (Usage(input_tokens=77), SMALL_PRICE, 77),  # our own engine keeps all it reads
    ],
)
def test_what_a_model_holds(usage: Usage, price: Price | None, held: int) -> None:
    """A request that goes on with a conversation finds who answered last and the tokens that saves there."""
    conversations, _, first = known(usage, price)
    assert conversations.before(turn_digests(going_on(first, "That.", "And then?"))) == Held(LARGE, held)


def test_only_the_same_words_go_on() -> None:
    """Another tenant's or an edited turn goes on with nothing; one after an answer of the cache finds the way back."""
    conversations, _, first = known(Usage(input_tokens=5000), LARGE_PRICE)
    second = going_on(first, "That.", "And then?")
    edited = replace(second, messages=(Message("system", "Be long."), *second.messages[1:]))
    assert conversations.before(turn_digests(first)) is None
    assert conversations.before(turn_digests(edited)) is None
    assert conversations.before(turn_digests(replace(second, tenant="other"))) is None
    third = going_on(second, "an answer from the cache", "And after that?")
    assert conversations.before(turn_digests(third)) == Held(LARGE, 4992)


def test_what_is_held_ends() -> None:
    """After its time nothing is held; a model that did not read a held prefix from its cache is not trusted again."""
    conversations, clock, first = known(Usage(input_tokens=5000), LARGE_PRICE)
    second = going_on(first, "That.", "And then?")
    conversations.after(turn_digests(second), answered(LARGE, Usage(input_tokens=6000)), LARGE_PRICE)
    assert conversations.before(turn_digests(going_on(second, "x", "y"))) == Held(LARGE, 0)
    clock.now = KEPT_S + 1
    assert conversations.before(turn_digests(second)) == Held(LARGE, 0)
    many = Conversations(1, KEPT_S, clock)
    for prompt in ("a", "b"):
        many.after(turn_digests(request(prompt)), answered(SMALL, Usage(input_tokens=9)), SMALL_PRICE)
    assert many.before(turn_digests(going_on(request("a"), "x", "y"))) is None
    assert many.before(turn_digests(going_on(request("b"), "x", "y"))) == Held(SMALL, 9)


async def test_the_router_is_told_of_the_conversation(bench: Bench) -> None:
    """The second turn's route knows which model answered the first and what it holds; a turn's own words start anew."""
    first = request("What is it?")
    text, receipt = await bench.ask(first)
    await bench.ask(going_on(first, text, "And the second one?"))
    await bench.ask(request("Something else entirely?"))
    assert bench.router.circumstances == [Circumstances(), Circumstances(SMALL, 100), Circumstances()]
    assert [route[0].earlier_turns for route in bench.router.routes] == [0, 2, 0]
    assert [one.model for one in receipt.outcome.route.alternatives] == [SMALL, LARGE]


async def test_long_instructions_are_a_turn_that_the_last_may_be_about(bench: Bench) -> None:
    """ "Summarise it" below a document leans on it, and the router is told that there is something; not of a role."""
    for instructions in ("You are a helpful assistant.", "A clause of the contract says so. " * 5):
        await bench.ask(request("Summarise it", system=instructions))
    assert [route[0].earlier_turns for route in bench.router.routes] == [0, 1]


async def test_the_router_is_told_of_speeds_where_time_decides(bench: Bench) -> None:
    """Once a model has answered often enough, a route that time decides knows how fast it was; others carry nothing."""
    takes_long = partial(asyncio.sleep, 0.02)  # beside what a busy machine takes to hand an answer on
    done = Finish(FinishReason.STOP, Usage(9, 0, 0, 50))
    bench.executor.scripts[SMALL] = [takes_long, TextDelta("an answer"), done]
    for number in range(10):
        await bench.ask(request(f"Question {number}?"))
    assert bench.router.circumstances[-1].speeds == {}
    for objective in (Objective(goal="FASTEST"), Objective(max_latency_s=9.0)):
        await bench.ask(request("A question?", objective=objective))
        assert set(bench.router.circumstances[-1].speeds) == {SMALL}


def test_speeds_are_moving_means_of_answers_that_tell() -> None:
    """Five answers make a speed known; an answer of a few tokens tells nothing."""
    speeds = Speeds()
    for _ in range(4):
        speeds.note("m", 0.5, 2.5, 100)
    speeds.note("m", 9.0, 9.0, 2)
    assert speeds.known() == {}
    speeds.note("m", 0.5, 2.5, 100)
    assert speeds.known()["m"].first_token_s == pytest.approx(0.5)
    assert speeds.known()["m"].output_tokens_per_second == pytest.approx(50)
    for _ in range(60):
        speeds.note("m", 0.1, 1.1, 100)
    assert speeds.known()["m"].output_tokens_per_second == pytest.approx(100, rel=0.05)


def test_a_speed_is_forgotten_where_nobody_asked_since() -> None:
    """A model that was too slow to be asked any more gets its chance again after a while."""
    now = [0.0]
    speeds = Speeds(lambda: now[0])
    for _ in range(5):
        speeds.note("m", 20.0, 30.0, 100)
    now[0] = 299.0
    assert set(speeds.known()) == {"m"}
    now[0] = 301.0
    assert speeds.known() == {}
    speeds.note("m", 0.1, 1.1, 100)
    assert speeds.known() == {}  # it begins anew


async def test_a_slow_reader_tells_nothing_of_a_models_speed(bench: Bench) -> None:
    """What one caller reads slowly makes the model slow to nobody else."""
    bench.executor.scripts[SMALL] = [TextDelta("an answer"), Finish(FinishReason.STOP, Usage(9, 0, 0, 50))]
    for number in range(6):
        alone = request(f"Question {number}?", cache_control=CacheControl(no_cache=True, no_store=True))
        async for _ in bench.pipeline.complete(alone):
            await asyncio.sleep(0.01)
    await bench.ask(request("A question?", objective=Objective(max_latency_s=9.0)))
    assert bench.router.circumstances[-1].speeds == {}


@pytest.mark.parametrize("role", ["user", "tool"])
async def test_the_route_tells_of_a_tools_result(role: str) -> None:
    """What the binding sends says whether the last turn is a tool's, how many went before, and who answered them."""
    asked: list[router_pb.RouteRequest] = []

    async def route(request: router_pb.RouteRequest, **_: Any) -> router_pb.RouteResponse:
        asked.append(request)
        return router_pb.RouteResponse(decision_id="d", plan=[{"model": SMALL}])

    binding = RouterBinding(grpc.aio.insecure_channel("127.0.0.1:1"), 1.0)
    binding._stub = SimpleNamespace(Route=route)  # type: ignore[assignment]
    first = request("What is it?")
    turns = (*first.messages, Message("assistant", ""), Message(role, "20 degrees"))
    known = Circumstances(SMALL, 77, {SMALL: Speed(0.5, 50)})
    await binding.route(replace(first, messages=turns), None, Objective(goal="FASTEST"), known)
    (sent,) = asked
    assert (sent.answers_tool_call, sent.earlier_turns) == (role == "tool", 2)
    assert (sent.current_model, sent.cached_prefix_tokens) == (SMALL, 77)
    assert (sent.measured_speeds[0].model, sent.measured_speeds[0].speed.output_tokens_per_second) == (SMALL, 50)
    assert sent.objective.goal == objective_pb2.GOAL_FASTEST
