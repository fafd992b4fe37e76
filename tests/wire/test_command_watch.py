"""`fulcrum stats --watch` while the suite it asks comes and goes."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.suite_process import suite_process


@asynccontextmanager
async def watching(address: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`fulcrum stats --watch 0.2 --json` into pipes."""
    command = ("stats", "--watch", "0.2", "--json", "--address", address)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "services.cli", *command),
        env=dict(os.environ),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_a_restart_is_waited_for(tmp_path: Path) -> None:
    """One JSON object a line comes at each refresh; a suite that restarts is waited for, which is said once."""
    async with asyncio.timeout(60), suite_process(tmp_path) as suite:
        port = suite.address.rpartition(":")[2]
        async with watching(suite.address) as watch:
            assert watch.stdout
            assert watch.stderr
            for _ in range(2):
                assert "total" in json.loads(await watch.stdout.readline())
            suite.process.kill()
            told = (await watch.stderr.readline()).decode()
            assert told.startswith("fulcrum: waits for an answer: --address: got")
            async with suite_process(tmp_path, environment={"FULCRUM_SERVER__PORT": port}):
                await asyncio.wait_for(_fresh(watch.stdout), 20)
            watch.kill()
            assert b"Traceback" not in await watch.stderr.read()


async def _fresh(lines: asyncio.StreamReader) -> None:
    """Waits for two lines; what was printed before the suite ended is read by then."""
    for _ in range(2):
        assert "total" in json.loads(await lines.readline())
