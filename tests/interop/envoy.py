"""Envoy as users run it: deploy/envoy as it is, but for where it listens and where the edges are."""

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import yaml

ROOT = Path(__file__).parents[2]
START_S = 30.0
_LISTEN = "port_value: 8080"
_ADMIN = "port_value: 9901"


@asynccontextmanager
async def envoy(folder: Path, edges: Sequence[str]) -> AsyncIterator[str]:
    """A running Envoy before these edges; its address. Ports are the system's choice."""
    shipped = (ROOT / "deploy/envoy/envoy.yaml").read_text()
    assert shipped.count(_LISTEN) == shipped.count(_ADMIN) == 1
    free = "port_value: 0"
    (folder / "envoy.yaml").write_text(shipped.replace(_LISTEN, free).replace(_ADMIN, free))
    write_edges(folder, edges)
    bin_folder = Path(sys.executable).parent
    descriptors = ["build", str(ROOT), "--exclude-source-info", "-o", str(folder / "edge.binpb")]
    built = await asyncio.create_subprocess_exec(bin_folder / "buf", *descriptors)
    assert await built.wait() == 0
    command = [str(bin_folder / "envoy"), "-c", "envoy.yaml", "--admin-address-path", "admin", "--concurrency", "1"]
    with (folder / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, "--use-dynamic-base-id", cwd=folder, stderr=log)
    try:
        yield await _listening(folder, process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def write_edges(folder: Path, edges: Sequence[str]) -> None:
    """Replaces edges.yaml in one step, as Envoy wants it."""
    content = yaml.safe_load((ROOT / "deploy/envoy/edges.yaml").read_text())
    content["resources"][0]["endpoints"][0]["lb_endpoints"] = [
        {"endpoint": {"address": {"socket_address": {"address": host, "port_value": int(port)}}}}
        for host, port in (edge.split(":") for edge in edges)
    ]
    new = folder / "edges.new"
    new.write_text(yaml.safe_dump(content))
    shutil.move(new, folder / "edges.yaml")


async def _listening(folder: Path, process: asyncio.subprocess.Process) -> str:
    async with asyncio.timeout(START_S), httpx.AsyncClient() as client:
        while True:
            assert process.returncode is None, (folder / "envoy.log").read_text()
            admin = (folder / "admin").read_text() if (folder / "admin").exists() else ""
            if admin and (await client.get(f"http://{admin}/ready")).status_code == 200:
                listeners = (await client.get(f"http://{admin}/listeners?format=json")).json()["listener_statuses"]
                healthy = (await client.get(f"http://{admin}/clusters")).text.count("health_flags::healthy")
                if listeners and healthy:
                    port = listeners[0]["local_address"]["socket_address"]["port_value"]
                    return f"127.0.0.1:{port}"
            await asyncio.sleep(0.05)
