"""Fifty tenants race their budgets over two edges on one ledger while the edges are killed: every sum stays exact."""

import asyncio
import json
import random
import sqlite3
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from fulcrum.edge.v1 import edge_service_pb2 as edge_pb
from fulcrum.edge.v1 import receipt_pb2
from fulcrum.edge.v1.edge_service_pb2_grpc import EdgeServiceStub
from fulcrum.executor.v1 import chat_pb2

from services.chassis.status import error_from
from services.edge.usage import SUMS
from tests.processes import Fleet, fleet

TENANTS = [f"tenant-{number:02}" for number in range(50)]
AT_ONCE = 2
BUDGET_NANO = 1_000  # about eight answers of two tokens
REQUESTS_A_DAY = 200
RACED = 40  # tenants that have spent their budget by the end of the race
LONGEST_S = 240.0
KILLS = 8
RECEIPTS_A_KILL = 30
HEADER = "x-tenant"
MOMENT = random.Random(3)


@dataclass
class Seen:
    """What the clients were told, by tenant."""

    receipts: dict[str, list[receipt_pb2.Receipt]] = field(default_factory=lambda: defaultdict(list))
    refused: set[str] = field(default_factory=set)
    lost: int = 0

    def told(self) -> int:
        """How many receipts in all."""
        return sum(len(receipts) for receipts in self.receipts.values())

    def over(self, until: float) -> bool:
        """Whether the race is."""
        return len(self.refused) >= RACED or time.monotonic() >= until


async def race(stubs: list[Any], tenant: str, seen: Seen, until: float) -> None:
    """One caller of a tenant: asks until its budget is spent or the race is over, whatever edge is there."""
    number = 0
    while not seen.over(until) and tenant not in seen.refused:
        number += 1
        request = edge_pb.CompleteRequest(
            messages=[chat_pb2.Message(role=chat_pb2.ROLE_USER, content=f"What is {number} plus {len(tenant)}?")],
            sampling=chat_pb2.Sampling(max_output_tokens=2),
            cache_control=edge_pb.CacheControl(no_cache=number % 4 > 0, no_store=number % 4 > 0),
        )
        try:
            async for event in MOMENT.choice(stubs).Complete(request, timeout=20, metadata=((HEADER, tenant),)):
                if event.HasField("receipt"):
                    seen.receipts[tenant].append(event.receipt)
        except grpc.aio.AioRpcError as error:
            refusal = error_from(error, "edge")
            if refusal.reason == "BUDGET_EXHAUSTED":
                seen.refused.add(tenant)
            elif refusal.reason == "OVERLOADED":
                await asyncio.sleep(refusal.retry_after_s or 0.1)
            elif error.code() is grpc.StatusCode.UNAVAILABLE:
                seen.lost += 1
                await asyncio.sleep(0.05)
            else:
                raise


async def kill_now_and_then(running: Fleet, seen: Seen, until: float) -> int:
    """SIGKILLs one edge or the other at random moments, and starts it again."""
    for kill in range(KILLS):
        while seen.told() < (kill + 1) * RECEIPTS_A_KILL:
            if seen.over(until):
                return kill
            await asyncio.sleep(MOMENT.uniform(0.01, 0.1))
        edge = MOMENT.choice(running.edges)
        await edge.kill()
        await edge.start()
    return KILLS


async def booked_for(stub: Any, tenant: str) -> edge_pb.UsageTotals:
    """What an edge says that a tenant has used."""
    metadata = ((HEADER, tenant),)
    usage = await stub.GetUsage(edge_pb.GetUsageRequest(), timeout=20, metadata=metadata, wait_for_ready=True)
    return usage.total  # type: ignore[no-any-return]


async def test_budgets_and_sums_hold_through_kills(tmp_path: Path) -> None:
    """No tenant spends more than its budget and what is under way; receipts, sums and what clients saw are one."""
    limits = {"usd_per_day": BUDGET_NANO / 1e9, "requests_per_day": REQUESTS_A_DAY}
    settings = {
        "FULCRUM_SERVER__IDENTITY__ACCEPT": "header",
        "FULCRUM_SERVER__IDENTITY__HEADER": HEADER,
        "FULCRUM_EDGE__LIMITS": json.dumps(limits),
    }
    seen = Seen()
    async with fleet(tmp_path, edges=2, edge_environment=settings) as running:
        channels = [grpc.aio.insecure_channel(edge.address) for edge in running.edges]
        stubs: list[Any] = [EdgeServiceStub(channel) for channel in channels]
        until = time.monotonic() + LONGEST_S
        killing = asyncio.create_task(kill_now_and_then(running, seen, until))
        await asyncio.gather(*(race(stubs, tenant, seen, until) for tenant in TENANTS for _ in range(AT_ONCE)))
        assert await killing >= KILLS // 2
        for edge in running.edges:  # every line that a kill left open is closed by whoever starts next
            assert await edge.stop() == 0
            await edge.start()
        usage = {tenant: await booked_for(stubs[0], tenant) for tenant in TENANTS}
        for channel in channels:
            await channel.close()
    check(tmp_path / "ledger.sqlite", seen, usage)


def check(path: Path, seen: Seen, usage: dict[str, edge_pb.UsageTotals]) -> None:
    with sqlite3.connect(path) as ledger:
        assert ledger.execute("SELECT count(*) FROM open").fetchone() == (0,)
        sums = ", ".join(f"sum({name})" for name in SUMS)
        by = "tenant, day, model"
        lines = ledger.execute(f"SELECT {by}, {sums} FROM receipts GROUP BY {by} ORDER BY {by}").fetchall()
        assert lines == ledger.execute(f"SELECT * FROM totals ORDER BY {by}").fetchall()
        booked = dict(ledger.execute("SELECT receipt_id, actual_nano_usd FROM receipts"))
        spent = dict(ledger.execute("SELECT tenant, sum(actual_nano_usd) FROM receipts GROUP BY tenant"))
        dearest = ledger.execute("SELECT max(actual_nano_usd) FROM receipts").fetchone()[0]
        states = dict(ledger.execute("SELECT state, count(*) FROM receipts GROUP BY state"))
    told = [receipt for receipts in seen.receipts.values() for receipt in receipts]
    assert len({receipt.receipt_id for receipt in told}) == len(told)
    for receipt in told:
        assert booked[receipt.receipt_id] == receipt.cost.actual_nano_usd
    assert states["answered"] >= len(told)
    assert len(booked) - len(told) <= seen.lost  # a kill between commit and client loses the client a receipt, no more
    assert len(seen.refused) >= RACED
    for tenant in TENANTS:
        assert spent.get(tenant, 0) == usage[tenant].actual_nano_usd
        assert spent.get(tenant, 0) <= BUDGET_NANO + AT_ONCE * dearest
        if tenant in seen.refused:
            assert spent[tenant] >= BUDGET_NANO or usage[tenant].requests >= REQUESTS_A_DAY // 2
    print(f"{len(told)} receipts seen, {len(booked)} in the ledger, {states}, {seen.lost} calls lost to kills")
