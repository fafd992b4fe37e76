"""The engine's thread: an exception ends the answers it concerns and no other; leaving ends work in any state."""

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray
from structlog.testing import capture_logs

from services.chassis.errors import Internal, Overloaded, Unavailable
from services.executor.decoder_loop import DecoderLoop
from services.executor.decoder_session import Chunk, DecoderSession
from services.executor.engine import FinishReason, Sampling
from services.executor.generation import Generation
from services.executor.kept_prefixes import KeptPrefixes
from services.executor.models.onnx_linear import full_linear
from services.executor.prefix_tree import PrefixTree
from services.executor.scheduler import Scheduler
from tests.unit.executor.folders import byte_tokenizer, llama_folder

POISON = -1  # a token that the model cannot take
SLOTS, WAITING = 3, 4


class Model:
    """A real decoder that breaks where it meets the poison, and that a test can hold still."""

    def __init__(self, session: DecoderSession) -> None:
        self.session = session
        self.passes: list[list[int]] = []
        self.tokens = 0
        self.free = threading.Event()
        self.free.set()

    def run(self, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        assert self.free.wait(10)
        self.passes.append([chunk.slot for chunk in chunks])
        self.tokens += sum(len(chunk.tokens) for chunk in chunks)
        if any(POISON in chunk.tokens for chunk in chunks):
            raise RuntimeError("poison")
        return self.session.run(chunks)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> DecoderSession:
    folder: Path = llama_folder(tmp_path_factory.mktemp("model"), max_position_embeddings=300)
    return DecoderSession(folder, full_linear, 1, slots=SLOTS, kept_bytes=400_000)


@pytest.fixture
def model(session: DecoderSession) -> Model:
    return Model(session)


@pytest.fixture
def keeper(session: DecoderSession) -> KeptPrefixes:
    return KeptPrefixes(session.memory, shared=False)


@pytest.fixture
def scheduler(keeper: KeptPrefixes) -> Scheduler[Generation]:
    return Scheduler("model tiny", SLOTS, 300, WAITING, keeper)


@pytest_asyncio.fixture
async def loop(model: Model, scheduler: Scheduler[Generation], keeper: KeptPrefixes) -> AsyncIterator[DecoderLoop]:
    loop = DecoderLoop("tiny", model, scheduler, keeper)
    yield loop
    model.free.set()
    await loop.close()


def answer(prompt: Sequence[int] = (1, 2, 3), limit: int = 8, tenant: str = "a", **sampling: float) -> Generation:
    return Generation(tenant, prompt, limit, Sampling(**sampling), byte_tokenizer(), frozenset())  # type: ignore[arg-type]


async def ended(generation: Generation) -> str:
    """The text of an answer, or its error."""
    text = ""
    async with asyncio.timeout(20):
        while delta := await generation.next_text():
            text += delta.text
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


async def test_a_defect_of_the_loop_itself_leaves_nobody_waiting(
    loop: DecoderLoop, scheduler: Scheduler[Generation], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who runs then hears of an error, and the next answer is made."""
    expected = await text_of(loop, answer())
    with monkeypatch.context() as broken:
        broken.setattr(scheduler, "advance", lambda *_: 1 / 0)
        with pytest.raises(Internal, match="ZeroDivisionError"):
            await text_of(loop, answer())
    assert await text_of(loop, answer()) == expected


async def test_a_defect_that_nobody_runs_at_ends_those_who_wait(
    loop: DecoderLoop, scheduler: Scheduler[Generation], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where scheduling itself fails, who waits hears of it, and the thread does not spin."""
    calls = 0

    def broken() -> None:
        nonlocal calls
        calls += 1
        raise ZeroDivisionError

    expected = await text_of(loop, answer())
    with capture_logs(), monkeypatch.context() as defect:  # a log's own time would hide that it spins
        defect.setattr(scheduler, "schedule", broken)
        for _ in range(2):
            with pytest.raises(Internal, match="ZeroDivisionError"):
                await text_of(loop, answer())
        await asyncio.sleep(0.2)
        assert calls < 10
    assert await text_of(loop, answer()) == expected


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


async def text_of(loop: DecoderLoop, generation: Generation) -> str:
    loop.begin(generation)
    return await ended(generation)


PREFIX = [7, 21, 3, 9, 180] * 20


async def test_a_known_prefix_is_not_computed_again(loop: DecoderLoop, model: Model) -> None:
    """What is shared with an earlier prompt is copied, the rest is read, and the text is that of a cold one."""
    cold = answer([*PREFIX, 40, 41, 42], tenant="cold")
    text = await text_of(loop, cold)
    await text_of(loop, answer([*PREFIX, 50, 51]))
    computed = model.tokens
    warm = answer([*PREFIX, 40, 41, 42])
    assert await text_of(loop, warm) == text
    assert (cold.usage.cached_input_tokens, warm.usage.cached_input_tokens) == (0, 96)
    assert model.tokens - computed == len(warm.tokens) - 96 - 1


async def test_a_whole_known_prompt_leaves_two_tokens_to_compute(loop: DecoderLoop) -> None:
    """A prompt that ends with a block, or a token behind it, is cut back so that its logits have the same last bits."""
    for size in (96, 97, 98):
        first, again = answer(PREFIX[:size], tenant=f"{size}"), answer(PREFIX[:size], tenant=f"{size}")
        assert await text_of(loop, first) == await text_of(loop, again)
        assert first.mean_logprob == again.mean_logprob
        assert again.usage.cached_input_tokens == (96 if size == 98 else 80)


async def test_a_conversation_goes_on_where_it_ended(loop: DecoderLoop) -> None:
    """Answers are remembered as well: the next turn's prompt holds them."""
    first = answer(PREFIX, limit=30)
    await text_of(loop, first)
    following = answer([*first.tokens, 1, 2, 3])
    await text_of(loop, following)
    assert following.usage.cached_input_tokens == (len(first.tokens) - 1) // 16 * 16


async def test_no_prefix_is_shared_across_tenants(loop: DecoderLoop) -> None:
    """Neither with another tenant nor among those that name none."""
    await text_of(loop, answer(PREFIX, tenant="a"))
    for tenant in ("b", "", ""):
        other = answer(PREFIX, tenant=tenant)
        await text_of(loop, other)
        assert other.usage.cached_input_tokens == 0


async def test_a_preempted_answer_is_what_it_would_have_been(
    loop: DecoderLoop, scheduler: Scheduler[Generation], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its slot given to others and back, an answer has the same text and bits, and counts nothing as reused."""
    for reuse in (True, False):
        if not reuse:
            monkeypatch.setattr(KeptPrefixes, "keep", lambda *_: None)
        alone = answer(PREFIX, limit=150, tenant=f"alone {reuse}")
        expected = await text_of(loop, alone)
        crowd = [answer(PREFIX, limit=150, tenant=f"crowd {reuse}") for _ in range(SLOTS)]
        others = [answer([5, number], limit=60, tenant=f"other {number}") for number in range(2)]
        for one in crowd:
            loop.begin(one)
        await until(lambda: len(scheduler.running) == SLOTS)
        for one in others:
            loop.begin(one)
        assert [await ended(one) for one in crowd] == [expected] * SLOTS
        assert {one.mean_logprob for one in crowd} == {alone.mean_logprob}
        assert sum(one.turns > 1 for one in crowd) >= 1
        assert all(one.usage.cached_input_tokens <= len(PREFIX) for one in crowd)
        for one in others:
            await ended(one)


async def test_a_prefix_that_cannot_be_kept_costs_nothing_else(
    loop: DecoderLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where keeping or restoring raises, answers are complete and right."""
    expected = await text_of(loop, answer(PREFIX, tenant="before"))

    def broken(*_: object) -> None:
        raise MemoryError

    for method in ("insert", "match"):
        monkeypatch.setattr(PrefixTree, method, broken)
        assert await text_of(loop, answer(PREFIX)) == expected


async def test_machine_time_is_of_every_thread(
    model: Model, scheduler: Scheduler[Generation], keeper: KeptPrefixes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a pass takes counts for each of its threads, whether it worked or waited."""
    seconds = itertools.count(1)
    monkeypatch.setattr(time, "thread_time", lambda: float(next(seconds)))
    loop = DecoderLoop("tiny", model, scheduler, keeper, threads=4)
    one = answer(limit=8)
    await text_of(loop, one)
    await loop.close()
    assert (len(model.passes), one.machine_s) == (8, 8 * 4.0)


async def test_refusals_learn_from_answers(loop: DecoderLoop, scheduler: Scheduler[Generation]) -> None:
    """When to come back is told from how long answers have had their places."""
    before = scheduler.refusal().retry_after_s
    for _ in range(20):
        await text_of(loop, answer(limit=1))
    after = scheduler.refusal().retry_after_s
    assert before
    assert after
    assert after < before / 2


async def test_closing_ends_every_answer(model: Model, scheduler: Scheduler[Generation], keeper: KeptPrefixes) -> None:
    """Those that run and those that wait hear that the model is gone, and so do those that come later."""
    loop = DecoderLoop("tiny", model, scheduler, keeper)
    model.free.clear()
    asked = [answer(limit=200) for _ in range(SLOTS + 1)]
    for one in asked:
        loop.begin(one)
    closing = asyncio.create_task(loop.close())
    await asyncio.sleep(0.01)
    model.free.set()
    await closing
    for one in asked:
        with pytest.raises(Unavailable):
            await ended(one)
    with pytest.raises(Unavailable):
        loop.begin(answer())
