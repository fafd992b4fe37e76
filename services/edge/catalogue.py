"""The models and prices as the router last told them, so that edge can price and plan while the router is away."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import structlog

from services.chassis.errors import FulcrumError, Unavailable
from services.edge.chat import PlannedModel, Request
from services.edge.ports import CatalogueModel, Plan, Router, Speed
from services.edge.price import Price
from services.edge.stand_in import by_strength

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
        self._models: tuple[CatalogueModel, ...] = ()
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

    def plan_without_router(self, request: Request, speeds: Mapping[str, Speed]) -> Plan:
        """The strong model, or the dearest of the others where a limit of the request excludes that.

        Args:
            request: the whole of it, as some models may be too small for it.
            speeds: as measured, by model.

        Raises:
            Unavailable: the router was never reached and no fallback model is set, or no limit leaves any model.
        """
        left = [model.name for model in by_strength(self._models, request, speeds)]
        if not self.is_known and self._fallback_model and _may_stand_in(self._fallback_model, request):
            left = [self._fallback_model]
        if not left:
            known = (
                "no model that is known without it keeps the request's limits" if self._models else "no model is known"
            )
            raise Unavailable("router", f"away, and {known}", "a router, or edge.fallback_model")
        return Plan("", (PlannedModel(left[0]),), f"{left[0]}, because the router is away")

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
        self._models = models
        self.prices = {model.name: model.price for model in models}
        self.default = next((model.name for model in models if model.is_default), None)
        self._known.set()


def _may_stand_in(fallback_model: str, request: Request) -> bool:
    """Whether a request may go to the operator's fallback, of which nothing but its name is known: no price either."""
    return request.objective.allows(fallback_model) and request.objective.max_cost_nano_usd is None
