"""Fifty tenants race their budgets over two edges on one ledger while edges and an executor are killed.

What the ledger holds is compared line by line with what each call was told: every line belongs to a call that was made,
and a line that nobody was told of to one that a kill cut off or its client left.
"""

import asyncio
import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from fulcrum.edge.v1 import edge_service_pb2 as edge_pb
from fulcrum.edge.v1 import receipt_pb2
from fulcrum.edge.v1.edge_service_pb2_grpc import EdgeServiceStub

from services.edge.usage import SUMS
from tests.faults.ledger_race import HEADER, MOMENT, Call, Race, race
from tests.processes import Fleet, fleet

TENANTS = [f"tenant-{number:02}" for number in range(50)]
COUNTED = TENANTS[40:]  # their budget is of requests, the others' of money
AT_ONCE = 2
BUDGET_NANO = 1_000  # about eight answers of two tokens
REQUESTS_A_DAY = 12
RACED = 40  # tenants that have spent their budget by the end of the race
LONGEST_S = 240.0
KILLS = 8
RECEIPTS_A_KILL = 30
SETTINGS = {
    "FULCRUM_SERVER__IDENTITY__ACCEPT": "header",
    "FULCRUM_SERVER__IDENTITY__HEADER": HEADER,
    "FULCRUM_EDGE__LIMITS": json.dumps({"usd_per_day": BUDGET_NANO / 1e9}),
    "FULCRUM_EDGE__TENANTS": json.dumps(
        {tenant: {"usd_per_day": None, "requests_per_day": REQUESTS_A_DAY} for tenant in COUNTED}
    ),
}


@dataclass(frozen=True)
class Line:
    """One receipt as the ledger has it."""

    receipt_id: str
    tenant: str
    request_id: str
    model: str
    state: str
    attempts: int
    sums: dict[str, int]


async def kill_now_and_then(running: Fleet, run: Race, over: asyncio.Event) -> int:
    """SIGKILLs one edge or the other at random moments, and once an executor; starts each again."""
    for kill in range(KILLS):
        while run.fates["told"] < (kill + 1) * RECEIPTS_A_KILL:
            if over.is_set():
                return kill
            await asyncio.sleep(MOMENT.uniform(0.01, 0.1))
        if kill == KILLS // 2:
            run.kill_executor(running.executors[0])
            await running.executors[0].ended()
            await running.executors[0].start()
        number = MOMENT.randrange(2)
        run.kill_edge(number, running.edges[number])
        await running.edges[number].ended()
        await running.edges[number].start()
    return KILLS


async def until_raced(run: Race, over: asyncio.Event) -> None:
    """Ends the race once most budgets are spent, or it has lasted long enough."""
    try:
        async with asyncio.timeout(LONGEST_S):
            while len(run.refused) < RACED:  # noqa: ASYNC110 - nobody tells of a refusal
                await asyncio.sleep(0.05)
    finally:
        over.set()


async def usage_of(stub: Any, tenant: str) -> edge_pb.UsageTotals:
    """What an edge says that a tenant has used."""
    metadata = ((HEADER, tenant),)
    usage = await stub.GetUsage(edge_pb.GetUsageRequest(), timeout=20, metadata=metadata, wait_for_ready=True)
    return usage.total  # type: ignore[no-any-return]


async def test_budgets_and_sums_hold_through_kills(tmp_path: Path) -> None:
    """No line is invented, doubled or lost; no budget is exceeded but by what is under way, none refused too soon."""
    run, over = Race(), asyncio.Event()
    async with fleet(tmp_path, executors=2, edges=2, edge_environment=SETTINGS) as running:
        # No retries, so that a call is sent once or not at all.
        options = [("grpc.enable_retries", 0), ("grpc.max_reconnect_backoff_ms", 1_000)]
        channels = [grpc.aio.insecure_channel(edge.address, options=options) for edge in running.edges]
        stubs: list[Any] = [EdgeServiceStub(channel) for channel in channels]
        async with asyncio.TaskGroup() as group:
            killing = group.create_task(kill_now_and_then(running, run, over))
            group.create_task(until_raced(run, over))
            for tenant in TENANTS:
                for caller in range(AT_ONCE):
                    group.create_task(race(run, stubs, tenant, caller, over))
        for edge in running.edges:  # every line that a kill left open is closed by whoever starts next
            assert await edge.stop() == 0
            await edge.start()
        usage, same = [{tenant: await usage_of(stub, tenant) for tenant in TENANTS} for stub in stubs]
        spent = [tenant for tenant, refusal in run.refused.items() if refusal.limit == "usd per day"]
        again = await asyncio.gather(*(run.ask(stubs, tenant, 1, AT_ONCE) for tenant in spent))
        for channel in channels:
            await channel.close()
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as ledger:
        lines = list(lines_of(ledger))
        assert usage == same
        check_sums(ledger, lines, usage)
        admitted = dict(ledger.execute("SELECT tenant, sum(requests) FROM admitted GROUP BY tenant"))
    check_lines(run, lines)
    check_budgets(run, lines, admitted)
    assert {(call.fate, call.why) for call in again} == {("refused", "usd per day")}
    assert killing.result() > KILLS // 2  # the executor's among them
    assert any("edge" in call.struck for call in run.calls)
    tell(run, lines, killing.result())


def tell(run: Race, lines: list[Line], kills: int) -> None:
    """Prints the figures."""
    states = Counter(line.state for line in lines)
    unseen = states["answered"] - run.fates["told"]
    again = sum(line.attempts > 1 for line in lines)
    refused = Counter(refusal.limit for refusal in run.refused.values())
    print(f"{len(run.calls)} calls, {kills} kills: {dict(run.fates)}; tenants refused: {dict(refused)}")
    print(f"{len(lines)} lines: {dict(states)}; {unseen} answers nobody saw; {again} of several attempts")


def lines_of(ledger: sqlite3.Connection) -> Iterator[Line]:
    """Every receipt, in the order in which they were settled."""
    columns = f"receipt_id, tenant, request_id, model, state, attempts, {', '.join(SUMS)}"
    for row in ledger.execute(f"SELECT {columns} FROM receipts ORDER BY end_ns"):
        receipt_id, tenant, request_id, model, state, attempts, *amounts = row
        yield Line(receipt_id, tenant, request_id, model, state, attempts, dict(zip(SUMS, amounts, strict=True)))


def check_sums(ledger: sqlite3.Connection, lines: list[Line], usage: dict[str, edge_pb.UsageTotals]) -> None:
    """Sum of the receipts = totals = GetUsage, in every figure."""
    assert ledger.execute("SELECT count(*) FROM open").fetchone() == (0,)
    sums = ", ".join(f"sum({name})" for name in SUMS)
    by = "tenant, day, model"
    summed = ledger.execute(f"SELECT {by}, {sums} FROM receipts GROUP BY {by} ORDER BY {by}").fetchall()
    assert summed == ledger.execute(f"SELECT * FROM totals ORDER BY {by}").fetchall()
    by_tenant: dict[str, Counter[str]] = defaultdict(Counter)
    for line in lines:
        by_tenant[line.tenant].update(line.sums)
        saved = sum(amount for name, amount in line.sums.items() if name.startswith("saved_by_"))
        assert line.sums["baseline_nano_usd"] - saved == line.sums["actual_nano_usd"], line
    for tenant in TENANTS:
        assert told_sums(usage[tenant]) == {name: by_tenant[tenant][name] for name in SUMS}


def told_sums(usage: edge_pb.UsageTotals) -> dict[str, int]:
    """What GetUsage says, by the ledger's names."""
    found = {f"saved_by_{receipt_pb2.Lever.Name(one.lever)[6:].lower()}": one.saved_nano_usd for one in usage.levers}
    for name in SUMS:
        if name not in found:
            found[name] = getattr(usage.usage if name.endswith("_tokens") else usage, name)
    return found


def check_lines(run: Race, lines: list[Line]) -> None:
    """Each line is of a call that was made and can have left it, and each receipt that was seen is a line."""
    calls = {call.request_id: call for call in run.calls}
    assert len(calls) == len(run.calls)
    booked = {line.receipt_id: line for line in lines}
    seen = [call for call in run.calls if call.fate == "told"]
    for call in seen:
        assert call.receipt
        line = booked[call.receipt.receipt_id]
        assert (line.state, line.tenant, line.model) == ("answered", call.tenant, call.receipt.model)
        assert calls[line.request_id].twins == call.twins  # a twin's line may have been taken over
        amounts = call.receipt.cost.baseline_nano_usd, call.receipt.cost.actual_nano_usd
        assert amounts == (line.sums["baseline_nano_usd"], line.sums["actual_nano_usd"])
    told = {call.receipt.receipt_id for call in seen if call.receipt}
    assert len(told) == len(seen)
    for line in lines:
        call = calls[line.request_id]
        assert line.tenant == call.tenant
        if line.receipt_id not in told:
            assert may_have_left(call, line.state), (line, call)
    alone = Counter(line.request_id for line in lines if calls[line.request_id].twins == line.request_id)
    assert not [request for request, count in alone.items() if count > 1]
    sharing = Counter(calls[line.request_id].twins for line in lines)
    twins = Counter(call.twins for call in run.calls)
    assert not [name for name, count in sharing.items() if count > twins[name]]
    for call in run.calls:  # edge's own errors tell of a model that was lost in the middle, and of nothing else
        assert call.fate != "failed" or "executor" in call.struck, call
    assert sum(line.attempts > 1 for line in lines) > 0  # retries and hedges were part of it


def may_have_left(call: Call, state: str) -> bool:
    """Whether a call can have left a line in this state that its client was not told of."""
    if state == "failed":
        return call.fate == "failed"
    return call.fate == "cancelled" or (state in ("answered", "interrupted") and "edge" in call.struck)


def check_budgets(run: Race, lines: list[Line], admitted: dict[str, int]) -> None:
    """Nobody gets more than the budget and what is under way, nobody is refused for less."""
    calls = {call.request_id: call for call in run.calls}
    assert len(run.refused) >= RACED
    assert {refusal.limit for refusal in run.refused.values()} == {"usd per day", "requests per day"}
    for tenant in TENANTS:
        own = [line for line in lines if line.tenant == tenant]
        made = [call for call in run.calls if call.tenant == tenant]
        refusal = run.refused.get(tenant)
        if tenant in COUNTED:
            answered = sum(line.state == "answered" for line in own)
            # A killed edge gives nothing back; who leaves, or saw a part of an answer that failed, gets nothing back.
            kept = sum("edge" in call.struck or call.fate in ("cancelled", "failed") for call in made)
            assert answered <= admitted[tenant] <= min(answered + kept, REQUESTS_A_DAY)
            assert refusal is None or answered + kept + refusal.beside >= REQUESTS_A_DAY, (tenant, refusal, made)
            continue
        spent, late = 0, 0
        for line in own:
            late += spent >= BUDGET_NANO and calls[line.request_id].fate == "told"
            spent += line.sums["actual_nano_usd"]
        assert late <= AT_ONCE, (tenant, late)
        assert refusal is None or spent >= BUDGET_NANO, (tenant, spent)
