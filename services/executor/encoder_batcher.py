"""Shares the encoder between concurrent requests: what waits while a run is under way goes together into the next."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.chassis.errors import Overloaded, Unavailable
from services.executor.sentence_encoder import Embedding, Tokens

TOKENISER_THREADS = 2  # so that one long text does not hold up the short ones
ESTIMATED_TEXT_S = 0.01


class Encoder(Protocol):
    """What is shared: see `SentenceEncoder`."""

    def tokenise(self, text: str) -> Tokens:
        """A text's tokens."""

    def encode(self, rows: Sequence[Tokens]) -> NDArray[np.float32]:
        """Vectors of equally long rows."""


@dataclass(frozen=True)
class Waiting:
    """A text that waits for its vector."""

    tokens: Tokens
    vector: asyncio.Future[NDArray[np.float32]]


class EncoderBatcher:
    """Embeds texts; an idle encoder starts at once, a busy one on all that is equally long when it is free.

    Args:
        encoder: used from threads of this batcher alone.
        waiting_limit: texts that may wait; requests beyond are refused.
        run_tokens: most tokens in one run, a single text aside.
    """

    def __init__(self, encoder: Encoder, waiting_limit: int, run_tokens: int) -> None:
        self._encoder = encoder
        self._limit = waiting_limit
        self._run_tokens = run_tokens
        self._admitted = 0
        self._waiting: list[Waiting] = []
        self._arrived = asyncio.Event()
        self._tokenisers = ThreadPoolExecutor(TOKENISER_THREADS, thread_name_prefix="tokenise")
        self._runner = ThreadPoolExecutor(1, thread_name_prefix="encode")
        self._worker = asyncio.create_task(self._work(), name="encoder batcher")

    @property
    def waiting(self) -> int:
        """Texts admitted and not embedded yet."""
        return self._admitted

    async def embed(self, texts: Sequence[str]) -> list[Embedding]:
        """One embedding a text, in order. Cancelling it takes its waiting texts out of the queue.

        Raises:
            Overloaded: too many texts wait already.
            Unavailable: the batcher is closed meanwhile.
        """
        if self._admitted and self._admitted + len(texts) > self._limit:
            found, delay = f"{self._admitted} texts waiting", self._admitted * ESTIMATED_TEXT_S
            raise Overloaded("encoder queue", found, f"at most {self._limit}", retry_after_s=delay)
        self._admitted += len(texts)
        try:
            loop = asyncio.get_running_loop()
            rows = await loop.run_in_executor(self._tokenisers, lambda: [self._encoder.tokenise(t) for t in texts])
            waiting = [Waiting(tokens, loop.create_future()) for tokens in rows]
            self._waiting += waiting
            self._arrived.set()
            vectors = await asyncio.gather(*(one.vector for one in waiting))
        finally:
            self._admitted -= len(texts)
        return [
            Embedding(vector, tokens.count, truncated=tokens.count > len(tokens.ids))
            for tokens, vector in zip(rows, vectors, strict=True)
        ]

    async def close(self) -> None:
        """Fails what waits and ends the threads."""
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)
        for one in self._waiting:
            if not one.vector.done():
                one.vector.set_exception(Unavailable("encoder", "closed", "a running encoder"))
        for threads in (self._tokenisers, self._runner):
            await asyncio.to_thread(threads.shutdown, cancel_futures=True)

    async def _work(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while group := self._next_group():
                await self._run(group)

    def _next_group(self) -> list[Waiting]:
        """Takes the oldest text that is still wanted and those equally long, up to the tokens of one run."""
        self._waiting = [one for one in self._waiting if not one.vector.done()]
        if not self._waiting:
            return []
        length = len(self._waiting[0].tokens.ids)
        equal = [one for one in self._waiting if len(one.tokens.ids) == length]
        group = equal[: max(1, self._run_tokens // length)]
        taken = set(map(id, group))
        self._waiting = [one for one in self._waiting if id(one) not in taken]
        return group

    async def _run(self, group: list[Waiting]) -> None:
        """Encodes a group; an error reaches those that wait for it and nobody else."""
        rows = [one.tokens for one in group]
        error: BaseException = Unavailable("encoder", "closed", "a running encoder")
        vectors: NDArray[np.float32] | None = None
        try:
            vectors = await asyncio.get_running_loop().run_in_executor(self._runner, self._encoder.encode, rows)
        except Exception as failure:  # noqa: BLE001 - handed to the callers, who raise it
            error = failure
        finally:
            for index, one in enumerate(group):
                if one.vector.done():
                    continue
                if vectors is None:
                    one.vector.set_exception(error)
                else:
                    one.vector.set_result(vectors[index])
