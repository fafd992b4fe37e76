"""Identical requests under way at the same time share one execution."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Hashable
from typing import Generic, TypeVar

from services.chassis.call import outlive_deadline
from services.chassis.errors import Unavailable

E = TypeVar("E")


class SingleFlight(Generic[E]):
    """Streams by key; the first subscriber's stream is everyone's, and it ends when the last one leaves."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight[E]] = {}

    def join(
        self, key: Hashable, start: Callable[[], AsyncGenerator[E, None]]
    ) -> "tuple[AsyncGenerator[E, None], Callable[[], bool]]":
        """The stream of `key`, from its beginning, and a claim on what it cost: true for the first who makes it."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight()
            flight.task = asyncio.create_task(self._fly(key, flight, start()))
        flight.subscribers += 1
        return self._follow(flight), flight.claim

    async def _fly(self, key: Hashable, flight: "_Flight[E]", events: AsyncGenerator[E, None]) -> None:
        outlive_deadline()
        try:
            async for event in events:
                flight.events.append(event)
                flight.wake()
        except asyncio.CancelledError:
            # Where someone still listens, this was not the last one leaving: it must not look like the end.
            flight.error = Unavailable("answer", "cancelled midway", "an end")
            raise
        except Exception as error:  # noqa: BLE001 - carried to every subscriber, who raises it
            flight.error = error
        finally:
            flight.ended = True
            if self._flights.get(key) is flight:
                del self._flights[key]
            flight.wake()

    async def _follow(self, flight: "_Flight[E]") -> AsyncGenerator[E, None]:
        position = 0
        try:
            while True:
                while position < len(flight.events):
                    position += 1
                    yield flight.events[position - 1]
                if flight.ended:
                    break
                await flight.more.wait()
            if flight.error:
                raise flight.error
        finally:
            flight.subscribers -= 1
            if not flight.subscribers:
                flight.error = None  # its traceback leads back here
                if not flight.ended:
                    await self._abandon(flight)

    async def _abandon(self, flight: "_Flight[E]") -> None:
        for key in [key for key, other in self._flights.items() if other is flight]:
            del self._flights[key]
        assert flight.task  # noqa: S101 - set by join before anyone can follow
        flight.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await flight.task


class _Flight(Generic[E]):
    """One execution and what it has said so far."""

    def __init__(self) -> None:
        self.events: list[E] = []
        self.more = asyncio.Event()
        self.subscribers = 0
        self.ended = False
        self.error: Exception | None = None
        self.task: asyncio.Task[None] | None = None
        self._claimed = False

    def claim(self) -> bool:
        """Whether nobody has taken the execution's cost upon them yet; from now on somebody has."""
        first, self._claimed = not self._claimed, True
        return first

    def wake(self) -> None:
        """Lets everyone who waits look again."""
        self.more.set()
        self.more = asyncio.Event()
