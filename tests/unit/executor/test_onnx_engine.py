"""The local engine on a tiny random model: repeatable, bounded, and free again as soon as its consumer is gone."""

import asyncio
import contextlib
import os
import random
import sys
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import pytest_asyncio
from safetensors.numpy import load_file, save_file

from services.chassis.errors import FailedPrecondition, InvalidField, Overloaded, Unavailable
from services.executor.engine import (
    Event,
    Finish,
    FinishReason,
    GenerateRequest,
    Message,
    ModelState,
    Sampling,
    TextDelta,
    Tool,
)
from services.executor.models.checkpoint import InvalidCheckpoint
from services.executor.onnx_engine import OnnxEngine
from services.executor.schema_court import SchemaCourt
from services.executor.settings import LocalModel
from tests.unit.executor.folders import END, llama_folder


def ask(prompt: str = "hello", **sampling: Any) -> GenerateRequest:
    return GenerateRequest("tiny", (Message("user", prompt),), Sampling(**sampling))


async def events_of(engine: OnnxEngine, request: GenerateRequest) -> tuple[str, Finish]:
    async with asyncio.timeout(20):
        events: list[Event] = [one async for one in engine.generate(request)]
    *deltas, finish = events
    assert isinstance(finish, Finish)
    return "".join(one.text for one in deltas if isinstance(one, TextDelta)), finish


@pytest_asyncio.fixture
async def engine(tmp_path: Path) -> AsyncIterator[OnnxEngine]:
    folder = llama_folder(tmp_path / "tiny", max_position_embeddings=600)
    engine = OnnxEngine("tiny", LocalModel(folder=folder, threads=1, places=1, waiting_limit=1))
    await engine.start()
    yield engine
    await engine.close()


@pytest_asyncio.fixture
async def endless(tmp_path: Path) -> AsyncIterator[OnnxEngine]:
    """One place, and a model that never says the end token, for a second or so."""
    folder = llama_folder(tmp_path / "endless", max_position_embeddings=4000)
    weights = load_file(folder / "model.safetensors")
    weights["model.embed_tokens.weight"][END] = 0.0
    save_file(weights, folder / "model.safetensors")
    engine = OnnxEngine("endless", LocalModel(folder=folder, threads=1, places=1, waiting_limit=1))
    await engine.start()
    yield engine
    await engine.close()


async def test_greedy_repeats(engine: OnnxEngine) -> None:
    """The same question twice, with another between, gives the same text and tells tokens, times and probability."""
    first, finish = await events_of(engine, ask(max_output_tokens=20))
    await events_of(engine, ask("something else entirely", max_output_tokens=5))
    again, _ = await events_of(engine, ask(max_output_tokens=20))
    assert first == again
    assert finish.usage
    assert (finish.usage.input_tokens, finish.usage.output_tokens) == (8, 20)
    assert finish.reason is FinishReason.LENGTH
    assert finish.mean_logprob is not None
    assert finish.mean_logprob < 0
    timing = finish.timing
    assert 0 <= timing.queue_s <= timing.first_token_s <= timing.total_s
    assert 0 < timing.machine_s <= timing.total_s
    info = engine.info
    assert (info.state, info.context_tokens, info.precision, len(info.digest)) == (ModelState.READY, 600, "int8", 64)


async def test_seeds_repeat(engine: OnnxEngine) -> None:
    """Equal seeds give equal texts, another seed another text."""
    texts = [(await events_of(engine, ask(temperature=1.5, seed=seed, max_output_tokens=20)))[0] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


async def test_long_prompts_are_read_in_chunks(engine: OnnxEngine) -> None:
    """A prompt of several chunks is answered; without a limit the answer ends with the context."""
    _, finish = await events_of(engine, ask("x" * 580, temperature=1.0, seed=4))
    assert finish.usage
    assert finish.usage.input_tokens == 583
    assert finish.usage.output_tokens <= 17


async def test_the_end_token_ends_silently(tmp_path: Path) -> None:
    """An end token stops the answer, counts as output and is not text; so may any token named by the configuration."""
    folder = llama_folder(tmp_path, eos_token_id=list(range(260)))
    engine = OnnxEngine("tiny", LocalModel(folder=folder, threads=1))
    await engine.start()
    text, finish = await events_of(engine, ask())
    assert finish.usage
    assert (text, finish.reason, finish.usage.output_tokens) == ("", FinishReason.STOP, 1)
    await engine.close()


async def test_stop_texts(engine: OnnxEngine) -> None:
    """A stop text ends the answer before it."""
    whole, _ = await events_of(engine, ask(temperature=1.5, seed=3, max_output_tokens=30))
    stop = whole[4:6]
    text, finish = await events_of(engine, ask(temperature=1.5, seed=3, max_output_tokens=30, stop=(stop,)))
    assert (text, finish.reason) == (whole[: whole.index(stop)], FinishReason.STOP)


async def test_leaving_stops_the_model(endless: OnnxEngine) -> None:
    """Closing the stream or cancelling its consumer frees the engine within a step."""
    async with aclosing(endless.generate(ask())) as events:
        await anext(events)
    task = asyncio.create_task(events_of(endless, ask()))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    _, finish = await events_of(endless, ask(max_output_tokens=2))
    assert finish.timing.queue_s < 0.5


async def test_leaving_while_waiting(endless: OnnxEngine) -> None:
    """Who leaves while its prompt is read into tokens, or in line, takes no place from others."""
    running = endless.generate(ask())
    await anext(running)
    for patience_s in (0.0, 0.05):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(patience_s):
                await events_of(endless, ask())
        assert endless.info.waiting == 0
    waiting = asyncio.create_task(events_of(endless, ask(max_output_tokens=1)))
    await asyncio.sleep(0.05)
    assert endless.info.waiting == 1
    await running.aclose()
    await waiting


class SlowCourt(SchemaCourt):
    """Tries for ever."""

    async def check(self, schema: str, tenant: str) -> None:
        await asyncio.Event().wait()


async def test_schemas_on_trial_take_no_places(tmp_path: Path) -> None:
    """However many of a tenant's schemas are being tried, another tenant's requests are answered."""
    engine = OnnxEngine("tiny", LocalModel(folder=llama_folder(tmp_path), threads=1), SlowCourt())
    await engine.start()
    trials = [
        asyncio.create_task(events_of(engine, replace(ask(json_schema=f'{{"const": {number}}}'), tenant="many")))
        for number in range(40)
    ]
    await asyncio.sleep(0)
    _, finish = await events_of(engine, replace(ask(max_output_tokens=2), tenant="other"))
    assert finish.timing.queue_s < 0.5
    for trial in trials:
        trial.cancel()
    await asyncio.gather(*trials, return_exceptions=True)
    await engine.close()


async def test_a_deadline_stops_the_model(endless: OnnxEngine) -> None:
    """A timeout around the consumer ends the generation, and the next request is served."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await events_of(endless, ask())
    usage = (await events_of(endless, ask(max_output_tokens=1)))[1].usage
    assert usage
    assert usage.output_tokens == 1


async def test_the_queue_is_bounded(endless: OnnxEngine) -> None:
    """One runs, one waits its turn, the third is refused with a time to come back."""
    running = endless.generate(ask())
    await anext(running)
    waiting = asyncio.create_task(events_of(endless, ask(max_output_tokens=1)))
    await asyncio.sleep(0.05)
    with pytest.raises(Overloaded) as caught:
        await events_of(endless, ask())
    assert caught.value.retry_after_s
    await running.aclose()
    assert (await waiting)[1].timing.queue_s > 0.01


@pytest.mark.parametrize("precision", get_args(LocalModel.model_fields["precision"].annotation))
async def test_sixty_four_at_once_get_what_each_gets_alone(tmp_path: Path, precision: Any) -> None:
    """Greedy texts of more requests than there are places, of all lengths and several tenants, preempted and with known
    prefixes, are those of one at a time, and their probabilities the same to the last bit."""
    folder = llama_folder(tmp_path, max_position_embeddings=300, hidden_size=64, intermediate_size=96)
    model = LocalModel(folder=folder, precision=precision, threads=2, places=24, waiting_limit=64)
    rng = random.Random(7)
    letters = "etaoin shrdlu "
    asked = [
        ask(
            "All begin alike here. " * (number % 2)
            + "".join(rng.choices(letters, k=rng.choice((0, 1, 5, 40, 90, 220))))
            + "?",
            max_output_tokens=rng.randint(1, 24),
        )
        for number in range(64)
    ]
    asked = [replace(one, tenant=f"tenant {number % 3}") for number, one in enumerate(asked)]
    first, second = (OnnxEngine("tiny", model) for _ in range(2))  # which knows no prefix of the other
    await first.start()
    alone = [await events_of(first, one) for one in asked]
    await first.close()
    await second.start()
    together = await asyncio.gather(*(events_of(second, one) for one in asked))
    await second.close()
    assert [(text, end.mean_logprob) for text, end in together] == [(text, end.mean_logprob) for text, end in alone]
    assert any(end.usage.cached_input_tokens for _, end in together if end.usage)
    assert max(end.timing.queue_s for _, end in together) > 0


async def test_a_shared_prefix_of_a_thousand_tokens(tmp_path: Path) -> None:
    """Who shares it has the first text after a fifth of the work at most, and the text of a cold request."""
    folder = llama_folder(tmp_path, max_position_embeddings=1200, hidden_size=256, intermediate_size=512)
    engine = OnnxEngine("tiny", LocalModel(folder=folder, precision="int8", threads=1))
    await engine.start()
    prefix = "".join(random.Random(3).choices("etaoin shrdlu", k=1000))

    async def answered(end: str, tenant: str, tokens: int) -> tuple[str, Finish]:
        return await events_of(engine, replace(ask(prefix + end, max_output_tokens=tokens), tenant=tenant))

    await answered(" One?", "warm", 1)
    from_cold = [(await answered(f" {number}?", f"cold {number}", 1))[1] for number in range(3)]
    from_warm = [(await answered(f" {number}?", "warm", 1))[1] for number in range(3)]
    assert [end.usage.cached_input_tokens for end in from_warm if end.usage] == [992] * 3
    least = [min(end.timing.machine_s for end in ends) for ends in (from_warm, from_cold)]
    assert least[0] <= 0.2 * least[1]
    (cold_text, cold), (warm_text, warm) = await answered(" So?", "new", 12), await answered(" So?", "warm", 12)
    await engine.close()
    assert (warm_text, warm.mean_logprob) == (cold_text, cold.mean_logprob)


async def test_the_event_loop_stays_free(engine: OnnxEngine) -> None:
    """While the model works, other tasks run: no step happens on the event loop."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await events_of(engine, ask("x" * 500, max_output_tokens=1))
    ticking.cancel()
    assert ticks > 20


def threads_since(before: Iterable[int]) -> dict[int, int]:
    """The niceness of each of this process's threads but those."""
    found = {}
    for one in {int(task.name) for task in Path("/proc/self/task").iterdir()} - set(before):
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            found[one] = os.getpriority(os.PRIO_PROCESS, one)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads have no priorities of their own")
async def test_what_computes_gives_way(tmp_path: Path) -> None:
    """The loop's thread and the runtime's workers do so to those that answer, refuse, and read prompts."""
    own, before = os.getpriority(os.PRIO_PROCESS, 0), threads_since(())
    engine = OnnxEngine("tiny", LocalModel(folder=llama_folder(tmp_path), threads=3))
    await engine.start()
    async with asyncio.timeout(5):
        while len(computing := threads_since(before)) > 3:  # noqa: ASYNC110 - the thread that loaded it ends by itself
            await asyncio.sleep(0.01)
    assert len(computing) == 3
    assert min(computing.values()) >= 10
    await events_of(engine, ask(max_output_tokens=2))
    assert list(threads_since({*before, *computing}).values()) == [own]
    assert threads_since(())[threading.get_native_id()] == own
    await engine.close()


async def test_refusals(engine: OnnxEngine) -> None:
    """A prompt without room for an answer, tools, and tool turns are refused by field."""
    with pytest.raises(InvalidField) as caught:
        await events_of(engine, ask("x" * 597))
    assert (caught.value.reason, caught.value.value) == ("PROMPT_TOO_LONG", "600 tokens")
    with pytest.raises(FailedPrecondition):
        await events_of(engine, GenerateRequest("tiny", ask().messages, tools=(Tool("f", "", "{}"),)))
    with pytest.raises(FailedPrecondition):
        await events_of(engine, GenerateRequest("tiny", (Message("tool", "42", tool_call_id="c"),)))


async def test_before_and_after_loading(tmp_path: Path) -> None:
    """A model that is not loaded is unavailable; one that cannot be is failed, by the tensor's name."""
    folder = llama_folder(tmp_path)
    engine = OnnxEngine("tiny", LocalModel(folder=folder))
    states = [engine.info.state]
    with pytest.raises(Unavailable, match="loading"):
        await events_of(engine, ask())
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(InvalidCheckpoint, match="tensor"):
        await engine.start()
    states.append(engine.info.state)
    assert states == [ModelState.LOADING, ModelState.FAILED]
    with pytest.raises(Unavailable, match="failed"):
        await events_of(engine, ask())
    await engine.close()
