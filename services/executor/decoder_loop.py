"""The engine's heart: one thread that admits, schedules, runs, samples and emits, for as long as anybody asks."""

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from services.chassis.errors import FulcrumError, Internal, Unavailable
from services.executor.decoder_session import Chunk
from services.executor.generation import Generation, Progress
from services.executor.priority import give_way
from services.executor.sampling import likeliest, top
from services.executor.scheduler import Keeper, Scheduler

_PAUSE_S = 1.0  # after a defect that is nobody's

Logits = NDArray[np.float32]
Planned = Sequence[tuple[Generation, Chunk]]


class Passes(Protocol):
    """What computes: see `DecoderSession`."""

    def run(self, chunks: Sequence[Chunk]) -> Logits:
        """Logits `[n, vocabulary]` of the n chunks that want them, in order."""


class DecoderLoop:
    """Owns the thread that `model` is used from; `start` and what follows belong to one event loop.

    Args:
        name: the model, as errors and logs name it.
        model: what computes.
        scheduler: decides what of.
        keeper: remembers what was computed.
        threads: of a pass; machine time is counted for each, whether it found work or waited for the others.
    """

    def __init__(
        self,
        name: str,
        model: Passes,
        scheduler: Scheduler[Generation],
        keeper: Keeper[Generation],
        threads: int = 1,
    ) -> None:
        self._name = name
        self._model = model
        self._scheduler = scheduler
        self._keeper = keeper
        self._pass_threads = threads
        self._wanted = threading.Event()
        self._closed = False
        self._events = asyncio.get_running_loop()
        self._out: list[tuple[Generation, Progress]] = []
        self._counted_s = 0.0
        self._log = structlog.get_logger("engine")
        self._thread = threading.Thread(target=self._work, name=f"decode {name}", daemon=True)
        self._thread.start()

    def begin(self, generation: Generation) -> None:
        """Has an answer made; what becomes of it comes in its `next_text`.

        Raises:
            Overloaded: too many wait.
            Unavailable: it is closed.
        """
        if self._closed:
            raise self._closing()
        loser = self._scheduler.submit(generation)
        if loser:
            loser.tell(self._scheduler.refusal())
        self._wanted.set()

    def leave(self, generation: Generation) -> None:
        """Ends the work on an answer; its slot is free in the next pass."""
        self._scheduler.remove(generation)

    async def close(self) -> None:
        """Ends the thread after the pass under way; answers that are not complete end with Unavailable."""
        self._closed = True
        self._wanted.set()
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        give_way()
        while not self._closed:
            try:
                self._turn()
            except Exception as error:  # noqa: BLE001 - a defect of ours must leave nobody without an end
                self._wanted.clear()  # who comes from now on sets it again, so that the pause below is one
                found = self._scheduler.running or self._scheduler.empty()  # the waiting, where that is what fails
                for generation in found:
                    self._fail(generation, error)
                if not found:
                    self._log.error("nothing can be scheduled", model=self._name, exc_info=error)
                    self._wanted.wait(_PAUSE_S)
            self._emit()
        self._out = [(generation, self._closing()) for generation in self._scheduler.empty()]
        self._emit()

    def _turn(self) -> None:
        """Admits and schedules, then runs, samples and emits; waits where there is nothing to do."""
        planned = self._scheduler.schedule()
        if planned:
            self._step(planned)
        elif self._scheduler.idle:
            self._wanted.wait()
            self._wanted.clear()

    def _step(self, planned: Planned) -> None:
        """A pass, and the next token of all that it has brought that far."""
        done, logits = self._run(planned)
        self._share_out(done)
        still_here = [self._scheduler.advance(generation, chunk) for generation, chunk in done]
        wanted = [
            (generation, here) for (generation, chunk), here in zip(done, still_here, strict=True) if chunk.wants_logits
        ]
        tokens, logprobs = likeliest(logits)
        choices = zip(tokens.tolist(), logprobs.tolist(), strict=True)
        for (generation, here), row, likely in zip(wanted, logits, choices, strict=True):
            if here:
                self._extend(generation, row, likely)

    def _run(self, planned: Planned) -> tuple[Planned, Logits]:
        """What was computed; where a pass fails, each chunk runs by itself, and only those that fail again do so."""
        try:
            return planned, self._model.run([chunk for _, chunk in planned])
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not end the others' answers
            if len(planned) == 1:
                self._fail(planned[0][0], error)
                return [], np.empty((0, 1), np.float32)
        parts = [(done, logits) for done, logits in (self._run([one]) for one in planned) if done]
        computed = [logits for _, logits in parts] or [np.empty((0, 1), np.float32)]
        return [one for done, _ in parts for one in done], np.concatenate(computed)

    def _extend(self, generation: Generation, logits: Logits, likely: tuple[int, float]) -> None:
        """Appends the next token, the likeliest where the answer is greedy."""
        try:
            token, logprob = likely if generation.sampler.takes_likeliest else generation.sampler.choose(logits)
            delta = generation.accept(token, logprob, top(logits, generation.alternatives or 0))
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(generation, error)
            return
        if delta:
            self._out.append((generation, delta))
        slot, computed = generation.slot, generation.computed
        if slot is not None and (generation.reason or computed == generation.prompt_size):
            self._keeper.keep(generation, slot, computed)  # a prompt at once, for who asks the like meanwhile
        if generation.reason:
            self._end(generation, None)

    def _fail(self, generation: Generation, error: Exception) -> None:
        if isinstance(error, FulcrumError):
            self._end(generation, error)
            return
        self._log.error("an answer failed", model=self._name, exc_info=error)
        self._end(generation, Internal(f"model {self._name}", type(error).__name__, "a pass without an error"))

    def _closing(self) -> Unavailable:
        return Unavailable(f"model {self._name}", "closing", "a model that is kept", retry_after_s=1.0)

    def _end(self, generation: Generation, error: FulcrumError | None) -> None:
        self._scheduler.remove(generation)
        if error is None and generation.admitted_at:
            self._scheduler.stayed(time.perf_counter() - generation.admitted_at)
        self._out.append((generation, error))

    def _share_out(self, planned: Planned) -> None:
        """Divides this thread's time since the last pass, work without waits, by tokens of this one."""
        now = time.thread_time()
        spent, self._counted_s = (now - self._counted_s) * self._pass_threads, now
        tokens = sum(len(chunk.tokens) for _, chunk in planned)
        for generation, chunk in planned:
            generation.machine_s += spent * len(chunk.tokens) / tokens

    def _emit(self) -> None:
        """Hands what happened to the event loop, at once for all."""
        out, self._out = self._out, []
        if out and not self._events.is_closed():
            self._events.call_soon_threadsafe(_deliver, out)


def _deliver(out: Sequence[tuple[Generation, Progress]]) -> None:
    for generation, progress in out:
        generation.tell(progress)
