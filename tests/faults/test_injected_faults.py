"""With Envoy failing three of ten calls on every hop, requests are answered, and few calls are made twice."""

from pathlib import Path

from services.chassis.channel import connect
from tests.faults.proxy import envoy
from tests.load import closed_loop, kept
from tests.processes import ServiceProcess, fleet

REQUESTS = 2_500
CALLERS = 8
PERCENT, DELAY_S = 30, 0.02


async def test_three_of_ten_calls_fail_on_every_hop(tmp_path: Path) -> None:
    """At least 99.9 % of requests are answered, and no hop sees more than 1.5 attempts a call."""
    async with fleet(tmp_path, edges=0, own_encoder=True) as running:
        assert running.encoder
        hops = {
            "executor": (running.executors[0].address, "grpc"),
            "cache": (running.cache.address, "http"),
            "router": (running.router.address, "grpc"),
            "encoder": (running.encoder.address, "http"),
        }
        async with envoy(tmp_path, hops, PERCENT, DELAY_S) as proxy:
            told = {f"FULCRUM_EDGE__{name.upper()}__ADDRESS": address for name, address in proxy.addresses.items()}
            edge = ServiceProcess("edge", tmp_path, {**running.environment, **told})
            running.edges.append(edge)
            await edge.start()
            async with connect(edge.address) as channel:
                report = await closed_loop(channel, REQUESTS, CALLERS, kept)
            print(report)
            assert len(report.answers) == REQUESTS
            assert report.failed_share <= 0.001, report.failed
            await edge.stop()
            calls = {line["backend"]: line["calls"] for line in edge.logged("channel closed")}
            (asked,) = edge.logged("models asked")
            assert asked["calls"] >= REQUESTS
            calls["executor"] = asked["calls"]
            for hop in hops:
                received = await proxy.received(hop)
                aborted, delayed = await proxy.aborted(hop), await proxy.delayed(hop)
                print(f"{hop}: {calls[hop]} calls, {received} attempts, {aborted} aborted, {delayed} delayed")
                assert calls[hop] >= REQUESTS
                assert min(aborted, delayed) > 0.25 * received
                assert calls[hop] <= received <= 1.5 * calls[hop]
