"""Whole suites on real weights for the conformance tests: the same servicers, reached in-process or over gRPC."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import yaml
from fulcrum.cache.v1.cache_service_pb2_grpc import CacheServiceStub
from fulcrum.edge.v1.edge_service_pb2_grpc import EdgeServiceStub
from fulcrum.embedding.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from fulcrum.executor.v1.executor_service_pb2_grpc import ExecutorServiceStub
from fulcrum.router.v1.router_service_pb2_grpc import RouterServiceStub

from services.cache.__main__ import assemble as assemble_cache
from services.chassis.access import IdentitySettings
from services.chassis.channel import BackendSettings, connect
from services.chassis.server import Component, ServerProcess
from services.chassis.settings import ServerSettings, read_file
from services.cli.assembly import SuiteSettings, assemble_suite, suite_settings
from services.edge.__main__ import assemble as assemble_edge
from services.executor.__main__ import assemble as assemble_executor
from services.router.__main__ import assemble as assemble_router

TENANT_HEADER = "x-tenant"
MAX_MESSAGE_BYTES = 1024 * 1024
ENDLESS = "fulcrum-endless"
_NEVER_SAID = 1  # a byte that no answer holds


@dataclass(frozen=True)
class Suite:
    """A running suite: one stub a service, typed loosely because tests send what no typed caller would."""

    binding: str
    embedding: Any
    cache: Any
    router: Any
    executor: Any
    edge: Any
    another_edge: Any  # beside the same cache and router; over gRPC a server of its own


def settings(folder: Path) -> SuiteSettings:
    """The settings of a checkout with the data in `folder`, and a third model that never ends by itself."""
    shipped = read_file(Path("deploy/local.yaml"))
    catalogue = yaml.safe_load(Path("deploy/catalogue.yaml").read_text())
    catalogue["models"].append({**catalogue["models"][-1], "name": ENDLESS, "default": False})
    (folder / "catalogue.yaml").write_text(yaml.safe_dump(catalogue))
    return suite_settings(
        Path("deploy/local.yaml"),
        {
            "server": {
                "port": 0,
                "max_message_bytes": MAX_MESSAGE_BYTES,
                "log_level": "error",
                "identity": {"accept": ["header"], "header": TENANT_HEADER},
            },
            "cache": {"database": str(folder / "cache.sqlite")},
            "edge": {"ledger": {"database": str(folder / "ledger.sqlite")}},
            "router": {"catalogue": str(folder / "catalogue.yaml")},
            "executor": {"models": {**shipped["executor"]["models"], ENDLESS: {"folder": str(endless(folder))}}},
        },
    )


def endless(folder: Path, output_tokens: int = 400, context_tokens: int = 512) -> Path:
    """The strong model's weights with an end token that it never says, and limits of its own."""
    made = folder / ENDLESS
    shutil.copytree("models/fulcrum-large", made)
    vocabulary = json.loads((made / "tokenizer.json").read_text())["model"]["vocab"]
    never_said = next(token for token, number in vocabulary.items() if number == _NEVER_SAID)
    for name, changes in (
        ("config.json", {"eos_token_id": _NEVER_SAID, "max_position_embeddings": context_tokens}),
        ("generation_config.json", {"eos_token_id": _NEVER_SAID, "max_new_tokens": output_tokens}),
        ("tokenizer_config.json", {"eos_token": never_said}),
    ):
        content = json.loads((made / name).read_text())
        (made / name).write_text(json.dumps({**content, **changes}))
    return made


def _stubs(binding: str, channels: dict[str, grpc.aio.Channel]) -> Suite:
    return Suite(
        binding,
        EmbeddingServiceStub(channels["executor"]),
        CacheServiceStub(channels["cache"]),
        RouterServiceStub(channels["router"]),
        ExecutorServiceStub(channels["executor"]),
        EdgeServiceStub(channels["edge"]),
        EdgeServiceStub(channels["another_edge"]),
    )


@asynccontextmanager
async def in_process(folder: Path) -> AsyncIterator[Suite]:
    """Every service behind one local channel."""
    process, components = assemble_suite(settings(folder))
    for component in components:
        await component.start()
    channel = process.local_channel(components)
    try:
        yield _stubs("in_process", dict.fromkeys(("executor", "cache", "router", "edge", "another_edge"), channel))
    finally:
        for component in reversed(components):
            await component.close()


@asynccontextmanager
async def over_grpc(folder: Path) -> AsyncIterator[Suite]:
    """Every service on a server of its own, edge reaching the others by address."""
    configured = settings(folder)
    async with AsyncExitStack() as stack:

        async def serve(component: Component, **changes: Any) -> str:
            server = configured.server.model_copy(update=changes)
            return await stack.enter_async_context(serving(component, server))

        backend = {"identity": IdentitySettings()}  # edge speaks to them for every tenant

        addresses = {
            "executor": await serve(assemble_executor(configured.executor), **backend),
            "cache": await serve(assemble_cache(configured.cache), **backend),
            "router": await serve(assemble_router(configured.router), **backend),
        }
        backends = {name: BackendSettings(address=address) for name, address in addresses.items()}
        edge = configured.edge.model_copy(update={**backends, "encoder": backends["executor"]})
        for name in ("edge", "another_edge"):
            addresses[name] = await serve(assemble_edge(edge))
        channels = {name: connect(address) for name, address in addresses.items()}
        for channel in channels.values():
            stack.push_async_callback(channel.close)
        yield _stubs("grpc", channels)


@asynccontextmanager
async def serving(component: Component, server: ServerSettings) -> AsyncIterator[str]:
    """One component on a server of its own; its address."""
    stop = asyncio.Event()
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(ServerProcess(server).serve([component], stop, port.set_result))
    waited: list[asyncio.Future[Any]] = [serving, port]
    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        await serving
    try:
        yield f"127.0.0.1:{await port}"
    finally:
        stop.set()
        await serving
