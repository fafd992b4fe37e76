"""One model's life: loaded, used, emptied of users, unloaded, and loaded again."""

import asyncio
import ctypes
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import structlog

from services.chassis.errors import FailedPrecondition, FulcrumError, Unavailable
from services.executor.engine import Engine, ModelInfo, ModelKind, ModelState, Usage
from services.executor.memory_budget import MemoryBudget
from services.executor.models.checkpoint import InvalidCheckpoint
from services.executor.settings import UNLOAD_WAIT_S
from services.executor.throughput import Throughput
from services.executor.users import Users


class HostedModel:
    """Loading and unloading go on where who asked for them leaves.

    Args:
        name: the model's.
        make: makes an engine that has not been started.
        size: tells the bytes that it will take; blocks; None for a model that runs elsewhere.
        budget: what memory is taken from.
        at_start: whether it is about to be loaded, so that who asks for it comes again.
        unload_wait_s: how long unloading waits for answers under way.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Engine],
        size: Callable[[], int] | None,
        budget: MemoryBudget,
        at_start: bool = True,
        unload_wait_s: float = UNLOAD_WAIT_S,
    ) -> None:
        self._name = name
        self._make = make
        self._size = size
        self._budget = budget
        self._engine = make()
        self._state = ModelState.LOADING if at_start else ModelState.UNLOADED
        self._failure = ""
        self._bytes = 0
        self._users = Users()
        self._unload_wait_s = unload_wait_s
        self._change: asyncio.Task[None] | None = None
        self._throughput = Throughput()
        self._log = structlog.get_logger("models")

    @property
    def info(self) -> ModelInfo:
        """The model as it is now."""
        return replace(
            self._engine.info,
            state=self._state,
            failure=self._failure,
            memory_bytes=self._bytes,
            tokens_per_second=self._throughput.tokens_per_second,
        )

    @contextmanager
    def using(self) -> Iterator[Engine]:
        """The engine, which is not closed within the block, unless the block outlasts an unload's patience.

        Raises:
            Unavailable: it is not ready.
        """
        if self._state is not ModelState.READY:
            reason = "STARTING" if self._state is ModelState.LOADING else None
            hint = (
                f"`fulcrum models load {self._name}` loads it" if self._state is ModelState.UNLOADED else self._failure
            )
            expected = f"ready{': ' if hint else ''}{hint}"
            retry = 1.0 if self._state is ModelState.LOADING else None
            raise Unavailable(f"model {self._name}", self._state.value, expected, reason=reason, retry_after_s=retry)
        with self._users:
            yield self._engine

    def answered(self, usage: Usage | None) -> None:
        """Notes an answer that ended."""
        self._throughput.add(usage.input_tokens + usage.output_tokens if usage else 0)

    async def look(self) -> None:
        """Finds out what it would take once loaded, as far as its folder can be read."""
        if self._size:
            with suppress(InvalidCheckpoint, OSError):
                self._bytes = await asyncio.to_thread(self._size)

    async def load(self) -> None:
        """Returns once it is ready, whoever began to load it.

        Raises:
            FailedPrecondition: it cannot be loaded, or does not fit into memory.
            Unavailable: it is being unloaded.
        """
        if self._state is ModelState.UNLOADING:
            raise self._busy()
        if self._state is ModelState.READY:
            return
        if self._state is not ModelState.LOADING or self._change is None:
            self._state = ModelState.LOADING
            self._change = asyncio.create_task(self._load())
        assert self._change  # noqa: S101 - who set the state set it too
        await asyncio.shield(self._change)
        if self._failure:
            raise FailedPrecondition("name", self._name, f"a model that can be loaded: {self._failure}")

    async def unload(self) -> None:
        """Returns once it is unloaded, whoever began to; answers under way end first, or fail if they take too long.

        Raises:
            FailedPrecondition: it runs elsewhere.
            Unavailable: it is being loaded.
        """
        if self._engine.info.kind is ModelKind.REMOTE:
            raise FailedPrecondition("name", self._name, "a local model, as a remote one takes no memory here")
        if self._state is ModelState.LOADING:
            raise self._busy()
        if self._state is ModelState.UNLOADED:
            return
        if self._state is not ModelState.UNLOADING:
            self._state = ModelState.UNLOADING
            self._change = asyncio.create_task(self._unload())
        assert self._change  # noqa: S101 - as above
        await asyncio.shield(self._change)

    async def close(self) -> None:
        """Ends what is under way and closes the engine."""
        if self._change and not self._change.done():
            self._change.cancel()
            await asyncio.gather(self._change, return_exceptions=True)
        await self._engine.close()

    async def _load(self) -> None:
        """Whatever goes wrong with one model's folder is that model's failure, and no other's."""
        self._failure = ""
        try:
            await self._fill()
        except (InvalidCheckpoint, FulcrumError, OSError) as error:
            await self._failed(str(error), None)
        except Exception as error:  # noqa: BLE001 - what is in strangers' folders is anybody's guess
            await self._failed(f"{type(error).__name__}: {error}", error)
        else:
            self._state = ModelState.READY
            self._log.info("model is ready", model=self._name, megabytes=round(self._bytes / 1e6))

    async def _fill(self) -> None:
        if self._size:
            self._bytes = await asyncio.to_thread(self._size)
            self._budget.take(self._name, self._bytes)
        await self._engine.start()

    async def _failed(self, why: str, error: Exception | None) -> None:
        self._log.error("model cannot be loaded", model=self._name, why=why, exc_info=error)
        self._failure = why[:1000]
        await self._empty(ModelState.FAILED)

    async def _unload(self) -> None:
        try:
            async with asyncio.timeout(self._unload_wait_s):
                await self._users.gone()
        except TimeoutError:  # a client that reads no further would keep it for ever
            self._log.warning("model is unloaded before its answers end", model=self._name, answers=self._users.count)
        self._failure = ""
        await self._empty(ModelState.UNLOADED)
        self._log.info("model is unloaded", model=self._name)

    async def _empty(self, state: ModelState) -> None:
        engine, self._engine, self._users = self._engine, self._make(), Users()
        await engine.close()
        del engine
        await asyncio.to_thread(_give_back)
        self._budget.give(self._name)
        self._state = state

    def _busy(self) -> Unavailable:
        return Unavailable(f"model {self._name}", self._state.value, "no longer so", retry_after_s=1.0)


def _give_back() -> None:
    """Hands what a model had to the system; the C library would keep half of it for what may come."""
    gc.collect()
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
