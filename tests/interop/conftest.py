"""One running fleet for every foreign client: two edges, one that takes a single request, and a slow model."""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from tests.interop.node import NodeProbe, node_probe
from tests.processes import Fleet, ServiceProcess, fleet
from tests.wire.suites import ENDLESS, endless

ENDLESS_TOKENS = 6000  # a whole answer takes several seconds


@dataclass(frozen=True)
class Running:
    """The fleet, and the edge that takes one request at a time."""

    fleet: Fleet
    narrow: ServiceProcess
    edge_environment: Mapping[str, str]
    folder: Path

    @property
    def address(self) -> str:
        return self.fleet.edge.address

    def another_edge(self, label: str, environment: Mapping[str, str] | None = None) -> ServiceProcess:
        """One more edge beside the others, with settings of its own; who starts it ends it."""
        return ServiceProcess("edge", self.folder, {**self.edge_environment, **(environment or {})}, label=label)


@pytest_asyncio.fixture(scope="session")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """Real processes on the shipped models and one that never ends by itself."""
    folder = tmp_path_factory.mktemp("interop")
    async with fleet(folder, edges=2, environment=_with_endless(folder)) as made:
        behind = {
            "EXECUTOR": made.executors[0],
            "ENCODER": made.executors[0],
            "CACHE": made.cache,
            "ROUTER": made.router,
        }
        addresses = {f"FULCRUM_EDGE__{name}__ADDRESS": process.address for name, process in behind.items()}
        edge = {**made.environment, **addresses}
        narrow = ServiceProcess("edge", folder, {**edge, "FULCRUM_EDGE__MAX_REQUESTS": "1"}, label="narrow")
        try:
            await narrow.start()
            yield Running(made, narrow, edge, folder)
        finally:
            await narrow.kill()


@pytest_asyncio.fixture(scope="session")
async def node() -> AsyncIterator[NodeProbe]:
    """A Node process with @grpc/grpc-js."""
    async with node_probe() as probe:
        yield probe


def _with_endless(folder: Path) -> dict[str, str]:
    catalogue = yaml.safe_load(Path("deploy/catalogue.yaml").read_text())
    context = ENDLESS_TOKENS + 500
    slow = {**catalogue["models"][-1], "name": ENDLESS, "default": False, "context_tokens": context}
    catalogue["models"] = [one for one in catalogue["models"] if "price" in one] + [slow]
    (folder / "catalogue.yaml").write_text(yaml.safe_dump(catalogue))
    models = {name: {"folder": f"models/{name}"} for name in ("fulcrum-small", "fulcrum-large")}
    models[ENDLESS] = {"folder": str(endless(folder, ENDLESS_TOKENS, context))}
    return {
        "FULCRUM_ROUTER__CATALOGUE": str(folder / "catalogue.yaml"),
        "FULCRUM_EXECUTOR__MODELS": json.dumps(models),
    }
