"""Unloading waits for answers, but for no reader that has stopped reading."""

import asyncio
import json
import threading
import weakref
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from fulcrum.executor.v1 import chat_pb2
from fulcrum.executor.v1 import executor_service_pb2 as pb
from safetensors.numpy import load_file, save_file
from structlog.testing import capture_logs

from services.chassis.errors import Unavailable
from services.chassis.local import LocalContext
from services.executor.chat_text import ChatText
from services.executor.engine import Message, ModelState
from services.executor.hosted_model import HostedModel
from services.executor.onnx_engine import OnnxEngine
from services.executor.registry import ModelRegistry, make_registry
from services.executor.schema_court import SchemaCourt
from services.executor.service import ExecutorServicer
from services.executor.settings import LocalModel
from tests.unit.executor.folders import END, llama_folder

WAIT_S = 0.2


async def ready(folder: Path) -> tuple[ModelRegistry, HostedModel]:
    """A model that never says the end token; 4,000 tokens take it a second or more."""
    llama_folder(folder, max_position_embeddings=4000)
    weights = load_file(folder / "model.safetensors")
    weights["model.embed_tokens.weight"][END] = 0.0
    save_file(weights, folder / "model.safetensors")
    registry = make_registry({"m": LocalModel(folder=folder, places=2, kv_memory_mb=64)}, unload_wait_s=WAIT_S)
    await registry.start()
    return registry, registry.model("m")


def answering(registry: ModelRegistry, tokens: int, schema: str = "") -> AsyncIterator[Any]:
    form = chat_pb2.ResponseFormat(json_schema=schema) if schema else None
    sampling = chat_pb2.Sampling(max_output_tokens=tokens, response_format=form)
    request = pb.GenerateRequest(
        model="m", messages=[chat_pb2.Message(role=chat_pb2.ROLE_USER, content="hello")], sampling=sampling
    )
    return ExecutorServicer(registry).Generate(request, LocalContext(None, ()))


async def test_who_reads_no_further_keeps_no_model(tmp_path: Path) -> None:
    """After the wait the model is unloaded and its memory free; the stalled answer fails, and the next is well."""
    registry, model = await ready(tmp_path)
    stalled = answering(registry, 3900)
    await anext(stalled)
    session = weakref.ref(cast(OnnxEngine, model._engine)._session)
    with capture_logs() as logs:
        async with asyncio.timeout(20):
            await model.unload()
    assert model.info.state is ModelState.UNLOADED
    assert session() is None
    assert [(line["event"], line["answers"]) for line in logs if line["log_level"] == "warning"] == [
        ("model is unloaded before its answers end", 1)
    ]
    await model.load()
    assert [event async for event in answering(registry, 4)][-1].finish.usage.output_tokens == 4
    with capture_logs() as logs:
        await model.unload()
    assert not [line for line in logs if line["log_level"] == "warning"]  # the old one is no user of the new model
    with pytest.raises(Unavailable, match="model m: got 'closing'"):
        async for _ in stalled:
            pass
    await registry.close()


async def test_an_answer_that_was_complete_is_read_to_its_end(tmp_path: Path) -> None:
    """What the model had said before it went is not lost to who reads it late."""
    registry, model = await ready(tmp_path)
    late = answering(registry, 3)
    first = await anext(late)
    async with asyncio.timeout(20):
        while model.info.kv_used:  # noqa: ASYNC110 - the engine tells nobody
            await asyncio.sleep(0.01)
        await model.unload()
    events = [first, *[event async for event in late]]
    assert events[-1].finish.usage.output_tokens == 3
    assert sum(len(event.text_delta.text) for event in events) > 0
    await registry.close()


@pytest.mark.parametrize("schema", [False, True])
async def test_requests_that_have_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schema: bool) -> None:
    """Whoever waits for a thread that reads prompts, or for a schema's trial, while the model goes gets UNAVAILABLE."""
    registry = make_registry({"m": LocalModel(folder=llama_folder(tmp_path), waiting_limit=64)}, unload_wait_s=0.0)
    await registry.start()
    reading, gone, tried = threading.Event(), threading.Event(), asyncio.Event()
    encode = ChatText.encode

    def slowly(text: ChatText, messages: Sequence[Message]) -> list[int]:
        reading.set()
        gone.wait(10)
        return encode(text, messages)

    async def check(*_: object) -> None:
        reading.set()
        await tried.wait()

    monkeypatch.setattr(ChatText, "encode", slowly)
    monkeypatch.setattr(SchemaCourt, "check", check)
    asked = [asyncio.create_task(ended(answering(registry, 4, json.dumps({}) if schema else ""))) for _ in range(6)]
    await asyncio.to_thread(reading.wait, 10)
    unloading = asyncio.create_task(registry.model("m").unload())
    await asyncio.sleep(0.05)
    gone.set()
    async with asyncio.timeout(20):
        if schema:
            await unloading
            tried.set()
        assert await asyncio.gather(*asked) == ["Unavailable"] * 6
        await unloading
    await registry.close()


async def ended(answer: AsyncIterator[Any]) -> str:
    """What an answer ended with."""
    try:
        async for _ in answer:
            pass
    except BaseException as error:  # noqa: BLE001 - a cancellation that is nobody's is what must not come
        return type(error).__name__
    return "complete"
