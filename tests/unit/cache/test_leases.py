"""Leases: one of many twins executes, the rest wait for that one alone, and nobody waits for who is gone."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.cache.decision import MissReason
from services.cache.entry import Entry, Partition
from services.cache.leases import Found, Lease, Leases, is_counted
from services.cache.query import Audit, Hit, MatchKind, Miss, Query, Wait
from services.cache.settings import TenantSettings
from tests.unit.cache.parts import HERE, answer, ask, embedding, keep, opened, settings

FRANCE, TOLD = "What is the capital of France?", "Tell me the capital city of France."
ENTRY = Entry(1, "e", HERE, FRANCE, answer(), 0, None)
HIT = Hit("l0", ENTRY, MatchKind.EXACT, 1.0, 1.0, 0, "")
LEASE_S = 3.0


class Bench:
    """Leases on a clock that is moved by hand; every look misses unless a test says otherwise."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.now = 100.0
        self.looks = 0
        self.leases = Leases(settings(folder, lease_s=LEASE_S, **changes), lambda: self.now)

    async def miss(self) -> Found:
        self.looks += 1
        await asyncio.sleep(0)
        return Miss(f"l{self.looks}", MissReason.NOT_NEAR, "none")

    async def look(
        self, query: Query, waited_for: str = "", look: Callable[[], Awaitable[Found]] | None = None
    ) -> tuple[Found | Wait, Lease | None]:
        return await self.leases.look(query, waited_for, look or self.miss)

    async def leased(self, query: Query, waited_for: str = "") -> tuple[str, str]:
        """The lease that is granted, and the lookup that it was granted with."""
        found, lease = await self.look(query, waited_for)
        assert lease
        assert isinstance(found, Miss)
        return lease.lease_id, found.lookup_id

    async def waits(self, query: Query, waited_for: str = "") -> Wait:
        found, lease = await self.look(query, waited_for)
        assert isinstance(found, Wait), found
        assert lease is None
        return found

    async def alone(self, query: Query, waited_for: str = "") -> None:
        """The query misses without a lease and without a wait."""
        found, lease = await self.look(query, waited_for)
        assert isinstance(found, Miss)
        assert lease is None


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_of_many_twins_one_executes(bench: Bench) -> None:
    """Of a hundred at the same moment one looks and has the lease; the rest wait, the shorter the younger it is."""
    found = await asyncio.gather(*(bench.look(ask(f" {FRANCE} ")) for _ in range(100)))
    (lease,) = [lease for _, lease in found if lease]
    waits = [one for one, _ in found if isinstance(one, Wait)]
    assert bench.looks == 1
    assert len(waits) == 99
    assert {wait.lease_id for wait in waits} == {lease.lease_id}
    delays = []
    for after_s in (0.0, 0.4, 2.0):
        bench.now += after_s
        bench.leases.hold("acme", lease.lease_id, end=False)
        delays.append((await bench.waits(ask(FRANCE))).retry_after_s)
    assert delays == sorted(delays)
    assert 0.0 < delays[0] < delays[-1] <= 0.5


async def test_what_was_stored_is_waited_for_no_more(bench: Bench) -> None:
    """A store under the lookup ends the lease, another tenant's or lookup's does not."""
    _, lookup_id = await bench.leased(ask(FRANCE))
    for tenant, name in (("other", lookup_id), ("acme", "l9"), ("acme", "")):
        bench.leases.stored(tenant, name)
        await bench.waits(ask(FRANCE))
    bench.leases.stored("acme", lookup_id)
    found, lease = await bench.look(ask(FRANCE), look=_finds(HIT))
    assert (found, lease, len(bench.leases)) == (HIT, None, 0)


async def test_a_lease_lapses_unless_it_is_renewed(bench: Bench) -> None:
    """Renewals keep it for as long as they come; without one the next twin has a lease of its own."""
    lease_id, _ = await bench.leased(ask(FRANCE))
    for _ in range(5):
        bench.now += 0.9 * LEASE_S
        assert bench.leases.hold("acme", lease_id, end=False)
    await bench.waits(ask(FRANCE))
    bench.now += 1.1 * LEASE_S
    assert not bench.leases.hold("acme", lease_id, end=False)
    other, _ = await bench.leased(ask(FRANCE), waited_for=lease_id)
    assert other != lease_id


async def test_who_ends_a_lease_frees_its_twins(bench: Bench) -> None:
    """Of those who waited the first has the next lease, and nobody waits a second time."""
    lease_id, _ = await bench.leased(ask(FRANCE))
    await bench.waits(ask(FRANCE))
    assert await bench.waits(ask(FRANCE), waited_for=lease_id)
    assert not bench.leases.hold("other", lease_id, end=True)
    await bench.waits(ask(FRANCE))
    assert not bench.leases.hold("acme", lease_id, end=True)
    await bench.leased(ask(FRANCE), waited_for=lease_id)
    await bench.alone(ask(FRANCE), waited_for=lease_id)
    assert len(bench.leases) == 1


@pytest.mark.parametrize(
    "other",
    [
        ask(TOLD, embedding=embedding(0.79)),
        ask("What is the capital of Greece?", embedding=embedding(0.95)),
        ask(TOLD, embedding=embedding(0.9), partition=Partition("acme", b"g" * 16)),
        ask(TOLD, embedding=embedding(0.9), partition=Partition("other", HERE.fingerprint)),
        ask(TOLD, embedding=embedding(0.9), max_wrong_share=0.001),
        ask(TOLD, embedding=embedding(0.9, truncated=True)),
        ask(TOLD),
    ],
    ids=["far", "vetoed", "fingerprint", "tenant", "bound", "truncated", "no embedding"],
)
async def test_who_is_no_twin_does_not_wait(bench: Bench, other: Query) -> None:
    """Only what the rule for new scopes would serve is waited for."""
    await bench.leased(ask(FRANCE, embedding=embedding()))
    await bench.waits(ask(TOLD, embedding=embedding(0.9)))
    await bench.leased(other)


async def test_semantic_twins_at_the_same_moment(bench: Bench) -> None:
    """Of two that look at once the first who misses has the lease, and the other waits for it after all."""
    both = ask(FRANCE, embedding=embedding()), ask(TOLD, embedding=embedding(0.9))
    (first, lease), (second, none) = await asyncio.gather(*(bench.look(one) for one in both))
    assert isinstance(first, Miss)
    assert lease
    assert isinstance(second, Wait)
    assert (second.lease_id, none, len(bench.leases)) == (f"{lease.lease_id}+", None, 1)


@pytest.mark.parametrize(
    ("found", "leased"),
    [(HIT, False), (Audit("l1", ENTRY, 0.1, True, ""), False), (Audit("l1", ENTRY, 1.0, True, ""), True)],
    ids=["hit", "audit", "near miss"],
)
async def test_what_has_a_lease(bench: Bench, found: Found, leased: bool) -> None:
    """A near miss is a miss; a hit needs no lease, and the twins of a would-be hit that is audited are served."""
    _, lease = await bench.look(ask(FRANCE), look=_finds(found))
    assert (lease is not None) is leased
    assert len(bench.leases) == leased


@pytest.mark.parametrize("error", [asyncio.CancelledError(), ValueError("x")])
async def test_a_look_that_fails_leaves_no_lease(bench: Bench, error: BaseException) -> None:
    """Who is refused, or leaves, keeps nobody waiting."""

    async def fail() -> Found:
        raise error

    with pytest.raises(type(error)):
        await bench.look(ask(FRANCE), look=fail)
    await bench.leased(ask(FRANCE))


async def test_quarantined_answers_are_waited_for_by_their_own_principal(tmp_path: Path) -> None:
    """Where others would not be served the answer, they do not wait for it."""
    bench = Bench(tmp_path, tenants={"acme": TenantSettings(confirmed_for_trust=1)})
    one = ask(FRANCE, embedding=embedding(), principal="key a")
    await bench.leased(one)
    await bench.waits(one)
    await bench.waits(replace(one, text=TOLD))
    for principal, text in (("key b", FRANCE), ("key c", TOLD)):
        await bench.leased(replace(one, text=text, principal=principal))


def _finds(found: Found) -> Callable[[], Awaitable[Found]]:
    async def look() -> Found:
        return found

    return look


@pytest.mark.parametrize("at_once", [True, False])
async def test_who_waited_is_on_the_books_once(tmp_path: Path, at_once: bool) -> None:
    """Of 50 twins one executes and the rest are served: 50 requests, whether a search had counted them or not."""
    with opened(tmp_path) as cache:
        leases = Leases(settings(tmp_path))
        cache.store(keep("How tall is Everest?", embedding=embedding(0.0)))
        counted_before: set[bool] = set()

        async def one(number: int) -> Found:
            asked = ask(TOLD if number % 2 else FRANCE, embedding=embedding(), judges=True)
            found: Found | Wait = Wait("", 0.0)

            async def look() -> Found:
                if not at_once:
                    await asyncio.sleep(0)
                return cache.lookup(replace(asked, again=is_counted(waited_for)))

            while isinstance(found, Wait):
                waited_for = found.lease_id
                found, _ = await leases.look(asked, waited_for, look)
                await asyncio.sleep(0)
            if waited_for:
                counted_before.add(is_counted(waited_for))
            if not isinstance(found, Hit):
                cache.store(keep(asked.text, embedding=embedding(), lookup_id=found.lookup_id))
                leases.stored("acme", found.lookup_id)
            return found

        found = await asyncio.gather(*map(one, range(50)))
        cache.lookup(ask("How tall is K2?", embedding=embedding(0.0), judges=True))  # takes up what was exact
        (promise,) = cache.promises()
    assert counted_before == ({False} if at_once else {False, True})
    assert sum(isinstance(one, Hit) for one in found) >= 45
    assert promise.requests == 51
