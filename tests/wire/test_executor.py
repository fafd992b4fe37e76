"""ExecutorService, the same on both bindings."""

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
