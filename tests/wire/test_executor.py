"""ExecutorService, the same on both bindings."""

import asyncio
import json
import time
from typing import Any

import grpc
import pytest
from fulcrum.executor.v1 import chat_pb2
from fulcrum.executor.v1 import executor_service_pb2 as pb

from tests.wire.expect import drained, refused
from tests.wire.suites import ENDLESS, MAX_MESSAGE_BYTES, Suite

INVALID = grpc.StatusCode.INVALID_ARGUMENT


def ask(prompt: str, model: str = "fulcrum-large", **sampling: Any) -> pb.GenerateRequest:
    message = chat_pb2.Message(role=chat_pb2.ROLE_USER, content=prompt)
    return pb.GenerateRequest(model=model, messages=[message], sampling=chat_pb2.Sampling(**sampling))


def text_of(events: list[pb.GenerateResponse]) -> str:
    return "".join(event.text_delta.text for event in events)


async def test_streams_and_ends_once(suite: Suite) -> None:
    """Deltas, then exactly one finish with usage and timing; greedy text repeats."""
    events = await drained(suite.executor.Generate(ask("What is the capital of France?"), timeout=30))
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds[-1] == "finish"
    assert set(kinds[:-1]) == {"text_delta"}
    finish = events[-1].finish
    assert finish.reason == chat_pb2.FINISH_REASON_STOP
    assert finish.usage.input_tokens > 0
    assert finish.usage.output_tokens > 0
    assert finish.timing.total.ToNanoseconds() >= finish.timing.first_token.ToNanoseconds() > 0
    assert finish.timing.machine.ToNanoseconds() > 0
    again = await drained(suite.executor.Generate(ask("What is the capital of France?"), timeout=30))
    assert text_of(again) == text_of(events) != ""


async def test_prefixes_are_shared_within_their_scope(suite: Suite) -> None:
    """Within a prefix_scope the second prompt that begins alike reads less; another scope, and none, share nothing."""

    async def cached(end: str, scope: str) -> int:
        request = ask(f"Write this word the other way round: {end}", max_output_tokens=4)
        request.prefix_scope = f"{scope} {suite.binding}" if scope else ""
        finish = (await drained(suite.executor.Generate(request, timeout=30)))[-1].finish
        return int(finish.usage.cached_input_tokens)

    assert [await cached("stone", "mine"), await cached("water", "yours"), await cached("metal", "")] == [0, 0, 0]
    assert await cached("light", "mine") > 0
    assert await cached("metal", "") == 0


async def test_sampling_limits(suite: Suite) -> None:
    """The token limit ends with LENGTH, a stop text is cut off, equal seeds give equal texts."""
    prompt = "Reverse the word stone."
    short = await drained(suite.executor.Generate(ask(prompt, max_output_tokens=2), timeout=30))
    assert short[-1].finish.reason == chat_pb2.FINISH_REASON_LENGTH
    assert short[-1].finish.usage.output_tokens == 2
    whole = text_of(await drained(suite.executor.Generate(ask(prompt), timeout=30)))
    assert len(whole) > 2
    stopped = await drained(suite.executor.Generate(ask(prompt, stop=[whole[2]]), timeout=30))
    assert text_of(stopped) == whole[: whole.index(whole[2])]
    assert stopped[-1].finish.reason == chat_pb2.FINISH_REASON_STOP
    hot = [
        text_of(
            await drained(
                suite.executor.Generate(ask(prompt, temperature=1.5, seed=7, max_output_tokens=12), timeout=30)
            )
        )
        for _ in range(2)
    ]
    assert hot[0] == hot[1]


async def test_cancelling_frees_the_engine(suite: Suite) -> None:
    """After a stream is cancelled the model answers the next request at once."""
    whole = ask("Reverse the word stone.", ENDLESS)
    begin = time.perf_counter()
    await drained(suite.executor.Generate(whole, timeout=30))
    whole_s = time.perf_counter() - begin
    call = suite.executor.Generate(whole, timeout=30)
    await anext(aiter(call))
    call.cancel()
    begin = time.perf_counter()
    brief = await drained(suite.executor.Generate(ask("Hello", ENDLESS, max_output_tokens=2), timeout=30))
    assert brief[-1].finish.usage.output_tokens == 2
    assert time.perf_counter() - begin < whole_s / 2


async def test_lists_models_in_pages(suite: Suite) -> None:
    """Every model is ready, in name order, page by page."""
    first = await suite.executor.ListModels(pb.ListModelsRequest(page_size=2), timeout=5)
    second = await suite.executor.ListModels(
        pb.ListModelsRequest(page_size=2, page_token=first.next_page_token), timeout=5
    )
    models = [*first.models, *second.models]
    assert [model.name for model in models] == [ENDLESS, "fulcrum-large", "fulcrum-small"]
    assert {model.state for model in models} == {pb.MODEL_STATE_READY}
    assert second.next_page_token == ""
    await refused(
        suite.executor.ListModels(pb.ListModelsRequest(page_size=-1), timeout=5), INVALID, "FIELD_INVALID", "page_size"
    )
    await refused(
        suite.executor.ListModels(pb.ListModelsRequest(page_token="?"), timeout=5),
        INVALID,
        "FIELD_INVALID",
        "page_token",
    )


@pytest.mark.parametrize(
    ("request_", "code", "reason", "field"),
    [
        (ask(""), INVALID, "FIELD_INVALID", "messages[0]"),
        (pb.GenerateRequest(model="fulcrum-large"), INVALID, "FIELD_INVALID", "messages"),
        (ask("x", top_p=1.5), INVALID, "FIELD_INVALID", "sampling.top_p"),
        (ask("x", temperature=float("nan")), INVALID, "FIELD_INVALID", "sampling.temperature"),
        (ask("word " * 500), INVALID, "PROMPT_TOO_LONG", "messages"),
        (ask("x", "gtp-4"), grpc.StatusCode.NOT_FOUND, "MODEL_UNKNOWN", "model"),
        (
            pb.GenerateRequest(
                model="fulcrum-large",
                messages=[chat_pb2.Message(role=chat_pb2.ROLE_USER, content="x")],
                tools=[chat_pb2.Tool(name="f", parameters_json_schema="{}")],
            ),
            grpc.StatusCode.FAILED_PRECONDITION,
            "CAPABILITY_MISSING",
            "tools",
        ),
        (ask("x" * MAX_MESSAGE_BYTES), grpc.StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE", "message"),
    ],
)
async def test_refusals(
    suite: Suite, request_: pb.GenerateRequest, code: grpc.StatusCode, reason: str, field: str
) -> None:
    """Each bad request gets its canonical status and names the field."""
    await refused(suite.executor.Generate(request_, timeout=10), code, reason, field)


async def test_expired_deadline(suite: Suite) -> None:
    """A deadline that passes during generation ends the stream with DEADLINE_EXCEEDED."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await drained(suite.executor.Generate(ask("Reverse the word stone.", ENDLESS), timeout=0.05))
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 8}, "sure": {"type": "boolean"}},
    "required": ["city", "sure"],
    "additionalProperties": False,
}


def held_to(schema: Any, **sampling: Any) -> pb.GenerateRequest:
    form = chat_pb2.ResponseFormat(json_schema=schema if isinstance(schema, str) else json.dumps(schema))
    return ask("What is the capital of France?", response_format=form, **sampling)


@pytest.mark.parametrize("sampling", [{}, {"temperature": 2.0, "seed": 1}, {"temperature": 2.0, "seed": 2}])
async def test_answers_satisfy_a_schema(suite: Suite, sampling: dict[str, Any]) -> None:
    """Greedy or drawn, an answer is complete JSON of the schema, and ends there."""
    events = await drained(suite.executor.Generate(held_to(SCHEMA, **sampling), timeout=30))
    found = json.loads(text_of(events))
    assert list(found) == ["city", "sure"]
    assert (type(found["city"]), type(found["sure"]), len(found["city"]) <= 8) == (str, bool, True)
    assert events[-1].finish.reason == chat_pb2.FINISH_REASON_STOP


async def test_schemas_that_cannot_be_held_to(suite: Suite) -> None:
    """No schema, one that is too deep, and one that would take minutes are refused by field, and soon."""
    deep = "[" * 99 + "]" * 99
    for schema in ("{", deep, json.dumps({"type": "integer", "multipleOf": 999_983})):
        begin = time.perf_counter()
        call = suite.executor.Generate(held_to(schema), timeout=30)
        await refused(call, INVALID, "FIELD_INVALID", "sampling.response_format.json_schema")
        assert time.perf_counter() - begin < 5


async def test_hostile_schemas_stop_nobody(suite: Suite) -> None:
    """While one caller's are tried out, the model answers others, and holds them to schemas of their own."""
    trials = []
    for prime in (999_961, 999_959, 999_953, 999_931):
        hostile = held_to({"type": "integer", "multipleOf": prime})
        hostile.prefix_scope = "hostile"
        trials.append(asyncio.ensure_future(drained(suite.executor.Generate(hostile, timeout=30))))
    await asyncio.sleep(0.1)
    events = await drained(suite.executor.Generate(held_to({"enum": ["Paris", "Rome"]}), timeout=30))
    assert json.loads(text_of(events)) in ("Paris", "Rome")
    assert not all(trial.done() for trial in trials)
    for trial in trials:
        trial.cancel()
    await asyncio.gather(*trials, return_exceptions=True)


async def test_probabilities_of_tokens(suite: Suite) -> None:
    """Each token of the text is told once, in order, with the likeliest in its place; unasked, none is."""
    whole = await drained(suite.executor.Generate(ask("What is the capital of France?", top_logprobs=3), timeout=30))
    told = [one for event in whole for one in event.text_delta.logprobs]
    assert b"".join(one.token for one in told).decode() == text_of(whole)
    assert len(told) == whole[-1].finish.usage.output_tokens - 1  # the end is no text
    for one in told:
        best = [(other.token, other.logprob) for other in one.alternatives]
        assert len(best) == 3
        assert best == sorted(best, key=lambda other: -other[1])
        assert best[0] == (one.token, pytest.approx(one.logprob, abs=1e-4))  # greedy
    plain = await drained(suite.executor.Generate(ask("What is the capital of France?"), timeout=30))
    assert text_of(plain) == text_of(whole)
    assert not any(event.text_delta.logprobs for event in plain)
    alone = await drained(suite.executor.Generate(ask("What?", top_logprobs=0, max_output_tokens=2), timeout=30))
    assert [len(one.alternatives) for event in alone for one in event.text_delta.logprobs] == [0, 0]
    call = suite.executor.Generate(ask("x", top_logprobs=21), timeout=5)
    await refused(call, INVALID, "FIELD_INVALID", "sampling.top_logprobs")


async def test_models_are_unloaded_and_loaded(suite: Suite) -> None:
    """An answer under way ends before its model is unloaded; then it is refused, stays so, and can be loaded again."""
    running = suite.executor.Generate(ask("Reverse the word stone.", ENDLESS, max_output_tokens=200), timeout=30)
    await anext(aiter(running))
    unloading = asyncio.ensure_future(drained(suite.executor.UnloadModel(pb.UnloadModelRequest(name=ENDLESS))))
    await asyncio.sleep(0.02)
    turned_away = suite.executor.Generate(ask("x", ENDLESS), timeout=5)
    await refused(turned_away, grpc.StatusCode.UNAVAILABLE, "BACKEND_UNAVAILABLE", f"model {ENDLESS}")
    rest = await drained(running)
    assert rest[-1].finish.usage.output_tokens == 200
    (unloaded,) = await unloading
    assert unloaded.model.state == pb.MODEL_STATE_UNLOADED
    (again,) = await drained(suite.executor.UnloadModel(pb.UnloadModelRequest(name=ENDLESS), timeout=5))
    assert again.model.state == pb.MODEL_STATE_UNLOADED
    for _ in range(2):
        loaded = (await suite.executor.LoadModel(pb.LoadModelRequest(name=ENDLESS), timeout=30)).model
        assert loaded.state == pb.MODEL_STATE_READY
    assert loaded.memory_bytes > 1_000_000
    assert loaded.supports_json_schema
    assert loaded.supports_logprobs
    assert loaded.tokens_per_second > 0
    brief = await drained(suite.executor.Generate(ask("Hello", ENDLESS, max_output_tokens=2), timeout=30))
    assert brief[-1].finish.usage.output_tokens == 2


async def test_operations_on_models_that_are_not_there(suite: Suite) -> None:
    """A name that no model has is refused by both."""
    for call in (
        suite.executor.LoadModel(pb.LoadModelRequest(name="gtp-4"), timeout=5),
        suite.executor.UnloadModel(pb.UnloadModelRequest(name="gtp-4"), timeout=5),
    ):
        await refused(call, grpc.StatusCode.NOT_FOUND, "MODEL_UNKNOWN", "model")
