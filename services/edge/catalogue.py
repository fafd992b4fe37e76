"""The models and prices as the router last told them, so that edge can price and plan while the router is away."""

import asyncio
from contextlib import suppress

import structlog

from services.chassis.errors import FulcrumError, Unavailable
from services.edge.chat import Objective, PlannedModel
from services.edge.ports import Plan, Router
from services.edge.price import Price

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.05, 1.0  # between reads, until one succeeds
_START_S = 1.0  # how long a start waits for the router


class Catalogue:
    """A copy of the router's catalogue, read again every `refresh_s` seconds once started."""

    def __init__(self, router: Router, refresh_s: float, fallback_model: str | None) -> None:
        self._router = router
        self._refresh_s = refresh_s
        self._fallback_model = fallback_model
        self._task: asyncio.Task[None] | None = None
        self._known = asyncio.Event()
        self._log = structlog.get_logger("edge")
        self.prices: dict[str, Price | None] = {}
        self.default: str | None = None

    async def start(self) -> None:
        """Reads the catalogue, and goes on doing so; a router that stays away holds a start up for a second."""
        self._task = asyncio.create_task(self._keep_reading())
        with suppress(TimeoutError):
            await asyncio.wait_for(self._known.wait(), _START_S)

    async def close(self) -> None:
        """Stops reading."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def plan_without_router(self, objective: Objective) -> Plan:
        """The strong model, or the first allowed one where the caller does not allow that.

        Raises:
            Unavailable: the router was never reached and no fallback model is set, or nothing known is allowed.
        """
        allowed_known = [name for name in objective.allowed_models if self.knows(name)]
        for name in (self.default or self._fallback_model, *allowed_known, *self.prices):
            if name and objective.allows(name):
                return Plan("", (PlannedModel(name),), f"{name}, because the router is away")
        raise Unavailable("router", "away, and no model is known without it", "a router, or edge.fallback_model")

    @property
    def is_known(self) -> bool:
        """Whether the router was ever reached."""
        return self._known.is_set()

    def knows(self, model: str) -> bool:
        """Whether it is a model of the router's, or the operator's own fallback: names that are bounded."""
        return model in self.prices or model == self._fallback_model

    async def _keep_reading(self) -> None:
        """A router that was never reached is asked again soon: until then nothing can be priced, and little planned."""
        wait_s = _FIRST_WAIT_S
        while True:
            await self._read()
            await asyncio.sleep(self._refresh_s if self._known.is_set() else min(wait_s, self._refresh_s))
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    async def _read(self) -> None:
        try:
            models = await self._router.catalogue()
        except FulcrumError as error:
            self._log.warning("catalogue not read", error=str(error))
            return
        self.prices = {model.name: model.price for model in models}
        self.default = next((model.name for model in models if model.is_default), None)
        self._known.set()
