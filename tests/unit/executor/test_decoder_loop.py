"""The engine's thread: an exception ends the answers it concerns and no other; leaving ends work in any state."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray

from services.chassis.errors import Internal, Overloaded
from services.executor.decoder_loop import DecoderLoop
from services.executor.decoder_session import Chunk, DecoderSession
from services.executor.engine import FinishReason, Sampling, TextDelta
from services.executor.generation import Generation
from services.executor.models.onnx_linear import full_linear
from services.executor.scheduler import Scheduler
from tests.unit.executor.folders import byte_tokenizer, llama_folder

POISON = -1  # a token that the model cannot take
SLOTS, WAITING = 3, 4


class Model:
    """A real decoder that breaks where it meets the poison, and that a test can hold still."""

    def __init__(self, session: DecoderSession) -> None:
        self.session = session
        self.passes: list[list[int]] = []
        self.free = threading.Event()
        self.free.set()

    def run(self, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        assert self.free.wait(10)
        self.passes.append([chunk.slot for chunk in chunks])
        if any(POISON in chunk.tokens for chunk in chunks):
            raise RuntimeError("poison")
        return self.session.run(chunks)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> DecoderSession:
    folder: Path = llama_folder(tmp_path_factory.mktemp("model"), max_position_embeddings=300)
    return DecoderSession(folder, full_linear, 1, slots=SLOTS)


@pytest.fixture
def model(session: DecoderSession) -> Model:
    return Model(session)


@pytest.fixture
def scheduler() -> Scheduler[Generation]:
    return Scheduler("model tiny", SLOTS, 300, WAITING)


@pytest_asyncio.fixture
async def loop(model: Model, scheduler: Scheduler[Generation]) -> AsyncIterator[DecoderLoop]:
    loop = DecoderLoop("tiny", model, scheduler)
    yield loop
    model.free.set()
    await loop.close()


def answer(prompt: Sequence[int] = (1, 2, 3), limit: int = 8, tenant: str = "a", **sampling: float) -> Generation:
    return Generation(tenant, prompt, limit, Sampling(**sampling), byte_tokenizer(), frozenset())  # type: ignore[arg-type]


async def ended(generation: Generation) -> str:
    """The text of an answer, or its error."""
    text = ""
    async with asyncio.timeout(20):
        while progress := await generation.progress.get():
            if not isinstance(progress, TextDelta):
                raise progress
            text += progress.text
    return text


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not reached():  # noqa: ASYNC110 - what it waits for is another thread's
            await asyncio.sleep(0.001)


async def test_a_pass_that_fails_ends_only_the_answers_at_fault(loop: DecoderLoop, model: Model) -> None:
    """Those in the same pass go on and get the text that they get alone; the loop serves the next."""
    alone = answer()
    loop.begin(alone)
    expected = await ended(alone)
    model.free.clear()
    good, bad, other = answer(), answer([1, POISON, 3]), answer()
    for one in (good, bad, other):
        loop.begin(one)
    model.free.set()
    with pytest.raises(Internal, match="RuntimeError"):
        await ended(bad)
    assert [await ended(good), await ended(other)] == [expected, expected]
    assert good.reason is FinishReason.LENGTH
    again = answer()
    loop.begin(again)
    assert await ended(again) == expected


async def test_an_answer_whose_own_work_fails_ends_alone(
    loop: DecoderLoop, scheduler: Scheduler[Generation], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a sampler nor a detokeniser that raises harms others, and the slots are free again."""
    draws, spells, good = answer(temperature=1.0), answer(), answer()

    def broken(*_: object) -> None:
        raise ValueError("broken")

    monkeypatch.setattr(draws.sampler, "choose", broken)
    monkeypatch.setattr(spells, "accept", broken)
    for one in (draws, spells, good):
        loop.begin(one)
    for one in (draws, spells):
        with pytest.raises(Internal, match="ValueError"):
            await ended(one)
    assert await ended(good)
    assert scheduler.idle


async def test_leaving_in_every_state(loop: DecoderLoop, model: Model, scheduler: Scheduler[Generation]) -> None:
    """Waiting, in the middle of a pass, between passes, complete: the slot is free by the next pass."""
    model.free.clear()
    running = [answer(limit=200) for _ in range(SLOTS)]
    waiting = [answer(limit=200), answer(limit=3)]
    for one in (*running, *waiting):
        loop.begin(one)
    await until(lambda: len(scheduler.running) == SLOTS)
    loop.leave(waiting[0])
    assert scheduler.waiting == 1
    loop.leave(running[0])  # the pass that holds it is under way
    model.free.set()
    await ended(waiting[1])
    await until(lambda: len(running[1].tokens) > 20)
    loop.leave(running[1])
    passes = len(model.passes)
    await until(lambda: len(model.passes) > passes + 4)
    assert all(chunks == [running[2].slot] for chunks in model.passes[passes + 1 :])
    loop.leave(running[2])
    loop.leave(waiting[1])  # long complete
    loop.leave(waiting[1])
    assert scheduler.idle


async def test_who_loses_its_place_hears_of_it(loop: DecoderLoop, model: Model) -> None:
    """A flood's newest request is refused with a time to come back when another tenant needs the place."""
    model.free.clear()
    flood = [answer(tenant="flood") for _ in range(SLOTS + WAITING)]
    for one in flood:
        loop.begin(one)
    loop.begin(answer(tenant="small"))
    with pytest.raises(Overloaded) as refused:
        await ended(flood[-1])
    assert refused.value.retry_after_s
    with pytest.raises(Overloaded):
        loop.begin(answer(tenant="flood"))


async def test_machine_time_is_shared_by_tokens(loop: DecoderLoop, model: Model) -> None:
    """Of answers in the same passes, the one with the longer prompt has taken more of the machine."""
    model.free.clear()
    short, long = answer([1] * 2, 2), answer([1] * 100, 2)
    loop.begin(short)
    loop.begin(long)
    model.free.set()
    await ended(short)
    await ended(long)
    assert 0 < short.machine_s < long.machine_s
