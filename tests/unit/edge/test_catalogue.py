"""Models and prices outlive the router's absence."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from services.chassis.errors import Unavailable
from services.edge.catalogue import Catalogue
from services.edge.chat import Objective
from tests.unit.edge.parts import LARGE, LARGE_PRICE, SMALL, SMALL_PRICE, UNPRICED, MemoryRouter, request

SOON_S = 5.0
AWAY = Unavailable("router", "connection refused", "a router")


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        while not true():  # noqa: ASYNC110 - polls what notifies nobody
            await asyncio.sleep(0.002)


def first(catalogue: Catalogue, **objective: Any) -> str:
    (model,) = catalogue.plan_without_router(request(objective=Objective(**objective)), {}).models
    return model.model


async def test_prices_and_default_are_the_routers() -> None:
    """After start the router's prices and its strong model are known, the unpriced as unpriced."""
    catalogue = Catalogue(MemoryRouter([]), 60.0, None)
    await catalogue.start()
    assert catalogue.prices == {SMALL: SMALL_PRICE, LARGE: LARGE_PRICE, UNPRICED: None}
    assert catalogue.default == LARGE
    await catalogue.close()


async def test_starts_without_a_router_and_finds_it_later() -> None:
    """A router that is away does not keep edge from starting; it is asked again until it answers."""
    router = MemoryRouter([], catalogue_error=AWAY)
    catalogue = Catalogue(router, 0.01, None)
    await catalogue.start()
    assert (catalogue.prices, catalogue.default) == ({}, None)
    with pytest.raises(Unavailable):
        first(catalogue)
    router.catalogue_error = None
    await until(lambda: catalogue.default == LARGE)
    assert first(catalogue) == LARGE
    await catalogue.close()


async def test_a_start_survives_reads_that_fail() -> None:
    """A router that answers not at once, but soon, is known when edge is ready."""
    router = MemoryRouter([], catalogue_error=AWAY)
    catalogue = Catalogue(router, 60.0, None)
    starting = asyncio.create_task(catalogue.start())
    await until(lambda: router.readings == 2)
    router.catalogue_error = None
    await starting
    assert catalogue.default == LARGE
    await catalogue.close()


async def test_what_was_known_is_kept_while_the_router_is_away() -> None:
    """A router that goes away takes nothing with it; one that comes back with other models is believed."""
    router = MemoryRouter([])
    catalogue = Catalogue(router, 0.005, None)
    await catalogue.start()
    router.catalogue_error = AWAY
    readings = router.readings
    await until(lambda: router.readings > readings + 1)
    assert (catalogue.default, first(catalogue), catalogue.prices[SMALL]) == (LARGE, LARGE, SMALL_PRICE)
    router.known, router.catalogue_error = router.known[1:], None
    await until(lambda: SMALL not in catalogue.prices)
    await catalogue.close()


async def test_closing_ends_the_reading() -> None:
    """After close the router is asked no more and no task is left; closing what never started is fine."""
    before = asyncio.all_tasks()
    router = MemoryRouter([])
    catalogue = Catalogue(router, 0.005, None)
    await catalogue.start()
    await catalogue.close()
    readings = router.readings
    await asyncio.sleep(0.02)
    assert router.readings == readings
    assert asyncio.all_tasks() == before
    await Catalogue(router, 1.0, None).close()


async def test_the_plan_without_a_router_keeps_to_the_objective() -> None:
    """The strong model where it is allowed, else the dearest of what is, the unpriced last."""
    catalogue = Catalogue(MemoryRouter([]), 60.0, "spare")
    await catalogue.start()
    assert first(catalogue) == LARGE
    assert first(catalogue, allowed_models=(SMALL, LARGE)) == LARGE
    assert first(catalogue, allowed_models=(SMALL, UNPRICED)) == SMALL
    assert first(catalogue, allowed_models=(SMALL, UNPRICED), denied_models=(SMALL,)) == UNPRICED
    assert first(catalogue, denied_models=(LARGE,)) == SMALL
    with pytest.raises(Unavailable):
        first(catalogue, denied_models=(SMALL, LARGE, UNPRICED))
    with pytest.raises(Unavailable):
        first(catalogue, allowed_models=(SMALL,), denied_models=(SMALL,))
    await catalogue.close()


async def test_a_name_that_is_not_known_may_be_newer_than_what_is() -> None:
    """Without the router nobody can say that a model does not exist: another one answers, or it is waited for."""
    catalogue = Catalogue(MemoryRouter([]), 60.0, "spare")
    await catalogue.start()
    await catalogue.close()
    assert first(catalogue, allowed_models=("added-since", SMALL)) == SMALL
    assert first(catalogue, denied_models=("added-since", LARGE)) == SMALL
    with pytest.raises(Unavailable):
        first(catalogue, allowed_models=("added-since",))
    assert first(catalogue, denied_models=("spare",)) == LARGE


async def test_the_fallback_model_stands_in_for_a_router_never_reached() -> None:
    """The operator's fallback answers until the router is known, and only where it is allowed; no made-up name does."""
    catalogue = Catalogue(MemoryRouter([], catalogue_error=AWAY), 60.0, "spare")
    await catalogue.start()
    assert first(catalogue) == "spare"
    assert first(catalogue, allowed_models=("other", "spare")) == "spare"
    for objective in ({"allowed_models": ("other",)}, {"denied_models": ("spare",)}):
        with pytest.raises(Unavailable):
            first(catalogue, **objective)
    with pytest.raises(Unavailable):
        first(catalogue, max_cost_nano_usd=1 << 60)  # nothing is known of its price
    await catalogue.close()
