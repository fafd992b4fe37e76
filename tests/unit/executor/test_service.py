"""The servicers turn messages into the domain's terms and back without loss."""

from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio
from fulcrum.embedding.v1 import embedding_service_pb2
from fulcrum.executor.v1 import chat_pb2, executor_service_pb2

from services.chassis.errors import Unavailable
from services.chassis.local import LocalContext
from services.executor import engine as domain
from services.executor.hosted_model import HostedModel
from services.executor.memory_budget import MemoryBudget
from services.executor.registry import ModelRegistry
from services.executor.schema_court import SchemaCourt
from services.executor.service import EmbeddingServicer, ExecutorServicer


class ScriptedEngine:
    """Keeps the request and plays events."""

    info = domain.ModelInfo("m", domain.ModelKind.REMOTE, domain.ModelState.READY, 7, "", "", True)
    usage = domain.Usage(9, 4, 2, 3)

    def __init__(self) -> None:
        self.asked: domain.GenerateRequest | None = None
        self.closed = False

    async def start(self) -> None:
        pass

    async def generate(self, request: domain.GenerateRequest) -> AsyncGenerator[domain.Event, None]:
        self.asked = request
        try:
            told = domain.TokenLogprob(b"a", -0.5, (domain.AlternativeToken(b"b", -1.0),))
            yield domain.TextDelta("a", logprobs=(told,))
            yield domain.ToolCallDelta(1, "c", "f", "{")
            timing = domain.Timing(0.25, 0.5, 1.5, 0.0)
            yield domain.Finish(domain.FinishReason.TOOL_CALLS, self.usage, timing, None)
        finally:
            self.closed = True

    async def close(self) -> None:
        pass


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest_asyncio.fixture
async def servicer(engine: ScriptedEngine) -> ExecutorServicer:
    model = HostedModel("m", lambda: engine, None, MemoryBudget(None))
    await model.load()
    return ExecutorServicer(ModelRegistry({"m": model}, (), SchemaCourt()))


async def test_requests_arrive_whole(engine: ScriptedEngine, servicer: ExecutorServicer) -> None:
    """Turns, calls, sampling and tools arrive as sent; unset sampling stays unset, and zero stays zero."""
    request = executor_service_pb2.GenerateRequest(
        model="m",
        messages=[
            chat_pb2.Message(
                role=chat_pb2.ROLE_ASSISTANT,
                tool_calls=[chat_pb2.ToolCall(call_id="c", name="f", arguments_json="{}")],
            ),
            chat_pb2.Message(role=chat_pb2.ROLE_TOOL, content="42", tool_call_id="c"),
        ],
        sampling=chat_pb2.Sampling(
            temperature=0.0,
            seed=0,
            stop=["x"],
            response_format=chat_pb2.ResponseFormat(json_schema="{}"),
            top_logprobs=0,
        ),
        tools=[chat_pb2.Tool(name="f", description="d", parameters_json_schema="{}")],
    )
    _ = [event async for event in servicer.Generate(request, LocalContext(None, ()))]
    assert engine.asked == domain.GenerateRequest(
        "m",
        (
            domain.Message("assistant", "", (domain.ToolCall("c", "f", "{}"),)),
            domain.Message("tool", "42", tool_call_id="c"),
        ),
        domain.Sampling(temperature=0.0, seed=0, stop=("x",), json_schema="{}", top_logprobs=0),
        (domain.Tool("f", "d", "{}"),),
    )


async def test_events_leave_whole(engine: ScriptedEngine, servicer: ExecutorServicer) -> None:
    """Deltas and the finish leave in order; an unknown probability stays unset."""
    request = executor_service_pb2.GenerateRequest(model="m")
    text, call, finish = [event async for event in servicer.Generate(request, LocalContext(None, ()))]
    assert text.text_delta.text == "a"
    other = chat_pb2.AlternativeToken(token=b"b", logprob=-1.0)
    assert list(text.text_delta.logprobs) == [chat_pb2.TokenLogprob(token=b"a", logprob=-0.5, alternatives=[other])]
    piece = call.tool_call_delta
    assert (piece.index, piece.call_id, piece.name, piece.arguments_json) == (1, "c", "f", "{")
    assert finish.finish.reason == chat_pb2.FINISH_REASON_TOOL_CALLS
    assert finish.finish.usage == chat_pb2.Usage(
        input_tokens=9, cached_input_tokens=4, cache_write_tokens=2, output_tokens=3
    )
    assert finish.finish.timing.first_token.ToMilliseconds() == 500
    assert finish.finish.timing.total.ToMilliseconds() == 1500
    assert not finish.finish.HasField("mean_logprob")


async def test_closing_the_stream_closes_the_engine(engine: ScriptedEngine, servicer: ExecutorServicer) -> None:
    """A consumer that leaves ends the engine's generator before its own close returns."""
    stream = servicer.Generate(executor_service_pb2.GenerateRequest(model="m"), LocalContext(None, ()))
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]
    assert engine.closed


async def test_models_are_listed(servicer: ExecutorServicer) -> None:
    """A model's facts are told as they are."""
    response = await servicer.ListModels(executor_service_pb2.ListModelsRequest(), None)
    expected = executor_service_pb2.Model(
        name="m",
        kind=executor_service_pb2.MODEL_KIND_REMOTE,
        state=executor_service_pb2.MODEL_STATE_READY,
        context_tokens=7,
        supports_tools=True,
    )
    assert list(response.models) == [expected]
    assert response.next_page_token == ""


async def test_embedding_before_loading() -> None:
    """An encoder that has not loaded is unavailable with a time to come back."""
    with pytest.raises(Unavailable) as caught:
        await EmbeddingServicer().Embed(embedding_service_pb2.EmbedRequest(texts=["a"]), None)
    assert caught.value.retry_after_s
