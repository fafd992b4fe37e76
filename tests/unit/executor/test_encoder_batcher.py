"""The batcher groups, bounds and drops work, and passes errors to those that wait for it alone."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray

from services.chassis.errors import Overloaded, Unavailable
from services.executor.encoder_batcher import EncoderBatcher
from services.executor.sentence_encoder import Tokens


class CountingEncoder:
    """An encoder whose vector is its text's length and first letter, and which waits while `gate` is shut."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.runs: list[list[int]] = []

    def tokenise(self, text: str) -> Tokens:
        return Tokens(tuple(text.encode())[:8], len(text))

    def encode(self, rows: Sequence[Tokens]) -> NDArray[np.float32]:
        self.entered.set()
        self.gate.wait(10)
        self.runs.append([row.ids[0] for row in rows])
        assert len({len(row.ids) for row in rows}) == 1
        if rows[0].ids[0] == ord("!"):
            raise ValueError("refused")
        return np.array([[len(row.ids), row.ids[0]] for row in rows], np.float32)


@pytest.fixture
def encoder() -> CountingEncoder:
    return CountingEncoder()


@pytest_asyncio.fixture
async def batcher(encoder: CountingEncoder) -> AsyncIterator[EncoderBatcher]:
    batcher = EncoderBatcher(encoder, waiting_limit=8, run_tokens=9)
    yield batcher
    encoder.gate.set()
    await batcher.close()


async def blocked(batcher: EncoderBatcher, encoder: CountingEncoder) -> asyncio.Task[object]:
    """A request that holds the encoder until its gate opens."""
    encoder.gate.clear()
    encoder.entered.clear()
    task: asyncio.Task[object] = asyncio.create_task(batcher.embed(["#"]))
    await asyncio.to_thread(encoder.entered.wait, 10)
    return task


async def waiting(batcher: EncoderBatcher, count: int) -> None:
    """Returns when `count` texts wait."""
    async with asyncio.timeout(10):
        while len(batcher._waiting) != count:  # noqa: ASYNC110 - there is no event for it, and need not be
            await asyncio.sleep(0.001)


async def test_order_and_counts(batcher: EncoderBatcher) -> None:
    """Vectors come back in the order of the texts, with token counts and the truncation mark."""
    found = await batcher.embed(["bb", "a", "cc", "d" * 20])
    assert [vector.values.tolist() for vector in found] == [[2, 98], [1, 97], [2, 99], [8, 100]]
    assert [(one.token_count, one.truncated) for one in found] == [(2, False), (1, False), (2, False), (20, True)]


async def test_waiting_texts_of_one_length_share_a_run(batcher: EncoderBatcher, encoder: CountingEncoder) -> None:
    """What arrives during a run goes into the next: equally long texts together, up to the tokens of one run."""
    first = await blocked(batcher, encoder)
    tasks = [asyncio.create_task(batcher.embed([text])) for text in ("aa", "b", "cc", "ddd", "ee", "ff", "gg")]
    await waiting(batcher, 7)
    encoder.gate.set()
    await asyncio.gather(first, *tasks)
    assert ["".join(map(chr, run)) for run in encoder.runs] == ["#", "acef", "b", "d", "g"]


async def test_a_full_queue_refuses_at_once(batcher: EncoderBatcher, encoder: CountingEncoder) -> None:
    """Beyond the limit a request is refused with a time to come back, and what waits is unharmed."""
    first = await blocked(batcher, encoder)
    second = asyncio.create_task(batcher.embed(["a"] * 7))
    await waiting(batcher, 7)
    with pytest.raises(Overloaded) as caught:
        await batcher.embed(["b"])
    assert caught.value.retry_after_s
    encoder.gate.set()
    await asyncio.gather(first, second)
    assert len(await batcher.embed(["c"] * 20)) == 20


async def test_cancelled_requests_are_not_run(batcher: EncoderBatcher, encoder: CountingEncoder) -> None:
    """A request cancelled while it waits leaves the queue and frees its place."""
    first = await blocked(batcher, encoder)
    dropped = asyncio.create_task(batcher.embed(["x"] * 7))
    await waiting(batcher, 7)
    dropped.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dropped
    kept = asyncio.create_task(batcher.embed(["k"]))
    await waiting(batcher, 8)
    encoder.gate.set()
    await asyncio.gather(first, kept)
    assert encoder.runs == [[ord("#")], [ord("k")]]


async def test_an_error_reaches_its_own_callers(batcher: EncoderBatcher, encoder: CountingEncoder) -> None:
    """A failing run fails those in it; others, and the batcher, go on."""
    bad, good = asyncio.create_task(batcher.embed(["!"])), asyncio.create_task(batcher.embed(["aa"]))
    with pytest.raises(ValueError, match="refused"):
        await bad
    assert (await good)[0].values.tolist() == [2, 97]


async def test_closing_fails_what_waits(encoder: CountingEncoder) -> None:
    """Closing answers everyone: nothing hangs."""
    batcher = EncoderBatcher(encoder, waiting_limit=8, run_tokens=9)
    first = await blocked(batcher, encoder)
    second = asyncio.create_task(batcher.embed(["a"]))
    await waiting(batcher, 1)
    asyncio.get_running_loop().call_later(0.05, encoder.gate.set)
    await batcher.close()
    found = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(one) for one in found] == [Unavailable, Unavailable]
