"""A suite in a process of its own on a free loopback port, ended by its own process id."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

_READY_S = 120.0


@dataclass(frozen=True)
class SuiteProcess:
    """A running suite: where it answers, and its process."""

    address: str
    process: asyncio.subprocess.Process


@asynccontextmanager
async def suite_process(
    folder: Path, *command: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[SuiteProcess]:
    """Runs `python -m services.cli <command>` (default `up`), its data and its log in `folder`, until the block ends.

    Raises:
        RuntimeError: it ended, or was not ready in two minutes; the message ends with its log.
    """
    log = folder / "suite.log"
    settings = {
        "FULCRUM_SERVER__PORT": "0",
        "FULCRUM_SERVER__LOG_FORMAT": "json",
        "FULCRUM_SERVER__LOG_LEVEL": "info",
        "FULCRUM_CACHE__DATABASE": str(folder / "cache.sqlite"),
        "FULCRUM_EDGE__LEDGER__DATABASE": str(folder / "ledger.sqlite"),
        **(environment or {}),
    }
    with log.open("wb") as stream:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.cli",
            *(command or ("up",)),
            env={**os.environ, **settings},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=stream,
        )
    try:
        yield SuiteProcess(await _address(process, log), process)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _address(process: asyncio.subprocess.Process, log: Path) -> str:
    for _ in range(int(_READY_S / 0.05)):
        for line in _lines(log):
            if '"event": "serving"' in line:
                event = json.loads(line)
                return f"{event['host']}:{event['port']}"
        if process.returncode is not None:
            break
        await asyncio.sleep(0.05)
    ended = process.returncode
    why = f"was not ready in {_READY_S:g} s, and still runs" if ended is None else f"ended with {ended} as it started"
    raise RuntimeError("\n".join([f"the suite {why}; its log:", *(_lines(log)[-40:] or ["(empty)"])]))


def _lines(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines()
