"""The suite as real processes: each on a port of its own, watched, signalled and ended by its own process id."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
START_S = 60.0


class ServiceProcess:
    """One `python -m services.<name>`.

    Args:
        service: edge, cache, router or executor.
        folder: holds its log.
        environment: settings as FULCRUM_<SECTION>__<KEY>, kept under this name.
        config: settings file, if any.
    """

    def __init__(
        self, service: str, folder: Path, environment: Mapping[str, str], config: Path | None = None, label: str = ""
    ) -> None:
        self.service = service
        self.log = folder / f"{label or service}.log"
        self.port = 0
        self.environment = dict(environment)
        self._config = config
        self._process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> "ServiceProcess":
        """Starts it, on the port it had before where it had one, and waits until it serves."""
        already = self.log.stat().st_size if self.log.exists() else 0
        variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith("FULCRUM_")},
            "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}",
            "FULCRUM_SERVER__LOG_LEVEL": "info",
            "FULCRUM_SERVER__LOG_FORMAT": "json",
            **self.environment,
            "FULCRUM_SERVER__PORT": str(self.port),
        }
        command = [sys.executable, "-m", f"services.{self.service}"]
        command += ["--config", str(self._config)] if self._config else []
        with self.log.open("ab") as stream:
            self._process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=variables, stderr=stream)
        async with asyncio.timeout(START_S):
            while not (port := self._logged_port(already)):
                assert self.running, f"{self.service} ended before it served:\n{self.log.read_text()[already:]}"
                await asyncio.sleep(0.02)
        self.port = port
        return self

    def send(self, number: signal.Signals) -> None:
        """Signals this very process."""
        assert self._process
        self._process.send_signal(number)

    async def ended(self, timeout_s: float = START_S) -> int:
        """Waits for its end; its status."""
        assert self._process
        return await asyncio.wait_for(self._process.wait(), timeout_s)

    async def kill(self) -> None:
        """SIGKILL, and waits."""
        if self.running:
            self.send(signal.SIGKILL)
            await self.ended()

    async def stop(self) -> int:
        """SIGTERM, and waits; SIGKILL where it does not obey."""
        if not self.running:
            return 0
        self.send(signal.SIGCONT)  # one that was stopped by a test hears nothing else
        self.send(signal.SIGTERM)
        try:
            return await self.ended(30.0)
        except TimeoutError:
            await self.kill()
            raise

    def rss_bytes(self) -> int:
        """Resident memory."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))

    def descriptors(self) -> int:
        """Open file descriptors."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def threads(self) -> int:
        """Threads."""
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))

    def lines(self) -> list[dict[str, Any]]:
        """Its log."""
        return [
            json.loads(line)
            for line in self.log.read_text().splitlines()
            if line.startswith("{") and line.endswith("}")
        ]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Its log lines about that event."""
        return [line for line in self.lines() if line.get("event") == event]

    def _logged_port(self, start: int) -> int:
        for line in self.log.read_bytes()[start:].decode().splitlines():
            if '"event": "serving"' in line and line.endswith("}"):
                return int(json.loads(line)["port"])
        return 0


@dataclass
class Fleet:
    """Every service as processes of its own; the edges reach the others by address."""

    executors: list[ServiceProcess]
    cache: ServiceProcess
    router: ServiceProcess
    encoder: ServiceProcess | None = None
    environment: Mapping[str, str] = field(default_factory=dict)  # what any further edge needs, but for addresses
    edges: list[ServiceProcess] = field(default_factory=list)

    @property
    def edge(self) -> ServiceProcess:
        return self.edges[0]

    @property
    def all(self) -> list[ServiceProcess]:
        encoder = [self.encoder] if self.encoder else []
        return [*self.edges, self.router, self.cache, *encoder, *self.executors]


@asynccontextmanager
async def fleet(
    folder: Path,
    executors: int = 1,
    edges: int = 1,
    edge_environment: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    between: Mapping[str, str] | None = None,
    own_encoder: bool = False,
    configs: Mapping[str, Path] | None = None,
) -> AsyncIterator[Fleet]:
    """A running fleet on the shipped models.

    Args:
        folder: for databases and logs.
        executors: how many executors, all of them behind every edge.
        edges: how many edges.
        edge_environment: settings of the edges alone.
        environment: settings of every process.
        between: what an edge is told as the address of `executor`, `cache`, `router` or `encoder`, where something
            stands between; `{}` in it becomes the true address.
        own_encoder: whether embeddings come from a process of their own, which runs no model.
        configs: settings files by service; the environment wins.
    """
    given = configs or {}
    shared = {"FULCRUM_ROUTER__CATALOGUE": "deploy/catalogue.yaml"} if "router" not in given else {}
    shared |= environment or {}
    own_cache = {**shared, "FULCRUM_CACHE__DATABASE": str(folder / "cache.sqlite")}
    encoder_alone = {**shared, "FULCRUM_EXECUTOR__MODELS": "{}"}
    made = Fleet(
        [
            ServiceProcess("executor", folder, shared, given.get("executor"), f"executor-{number}")
            for number in range(executors)
        ],
        ServiceProcess("cache", folder, own_cache, given.get("cache")),
        ServiceProcess("router", folder, shared, given.get("router")),
        ServiceProcess("executor", folder, encoder_alone, label="encoder") if own_encoder else None,
    )
    try:
        await asyncio.gather(*(process.start() for process in made.all))
        executors_at = ",".join(executor.address for executor in made.executors)
        addresses = {
            "EXECUTOR": executors_at,
            "ENCODER": made.encoder.address if made.encoder else executors_at,
            "CACHE": made.cache.address,
            "ROUTER": made.router.address,
        }
        told = {
            f"FULCRUM_EDGE__{name}__ADDRESS": (between or {}).get(name.lower(), "{}").format(address)
            for name, address in addresses.items()
        }
        ledger = {"FULCRUM_EDGE__LEDGER__DATABASE": str(folder / "ledger.sqlite")}
        made.environment = {**shared, **ledger, **(edge_environment or {})}
        for number in range(edges):
            own = {**shared, **ledger, **told, **(edge_environment or {})}
            made.edges.append(ServiceProcess("edge", folder, own, given.get("edge"), f"edge-{number}"))
        await asyncio.gather(*(process.start() for process in made.edges))
        yield made
    finally:
        for process in made.all:
            await process.kill()
