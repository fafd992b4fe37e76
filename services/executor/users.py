"""Who uses something that is to be closed once nobody does."""

import asyncio
from types import TracebackType


class Users:
    """Whoever is within a block of it is counted; belongs to one event loop."""

    def __init__(self) -> None:
        self.count = 0
        self._gone = asyncio.Event()
        self._gone.set()

    def __enter__(self) -> None:
        self.count += 1
        self._gone.clear()

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.count -= 1
        if not self.count:
            self._gone.set()

    async def gone(self) -> None:
        """Returns once there are none."""
        await self._gone.wait()
