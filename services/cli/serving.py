"""Commands that run services: up, serve, and config to look at what they would run with."""

import argparse
from dataclasses import replace

from rich.console import Console
from rich.markup import escape

from services.cache.__main__ import assemble as assemble_cache
from services.chassis.access import in_words
from services.chassis.server import Component, ServerProcess, run_until_stopped, stop_on_signals
from services.chassis.telemetry import configure_logging
from services.cli.address import default_address
from services.cli.assembly import SuiteSettings, assemble_suite, suite_settings
from services.edge.__main__ import assemble as assemble_edge
from services.executor.__main__ import assemble as assemble_executor
from services.router.__main__ import assemble as assemble_router


def up(arguments: argparse.Namespace) -> None:
    """Runs all services in one process until SIGTERM or Ctrl-C."""
    console = Console(stderr=True)

    def ready(port: int) -> None:
        address = f"{settings.server.host}:{port}"
        server = settings.server
        holds = in_words(server.host, server.tls, server.identity)
        console.print(f"[bold]Fulcrum[/] answers at [bold]{address}[/]  ({escape(holds)})")
        key = "FULCRUM_API_KEY=... " if "keys" in server.identity.accept else ""
        there = ("" if address == default_address() else f" --address {address}") + (" --ca FILE" if server.tls else "")
        console.print(f'  in another terminal:  {key}fulcrum complete "What is the capital of Norway?"{there}')

    async def serve() -> None:
        configure_logging(settings.server)
        process, (*backends, edge) = assemble_suite(settings)
        if settings.server.identity.accept:  # callers are tenants: what speaks for every tenant is no port of theirs
            backends = [_unexposed(backend) for backend in backends]
        await process.serve([*backends, edge], stop_on_signals(), ready)

    settings = suite_settings(arguments.config)
    run_until_stopped(serve)


def _unexposed(component: Component) -> Component:
    """The component, started and closed with the others but reached through this process's own channel alone."""
    return replace(component, services=(), register=lambda _: None)


def serve(arguments: argparse.Namespace) -> None:
    """Runs one service until SIGTERM or Ctrl-C."""
    settings = suite_settings(arguments.config)

    async def run() -> None:
        configure_logging(settings.server)
        component = _component(arguments.service, settings)
        await ServerProcess(settings.server).serve([component], stop_on_signals())

    run_until_stopped(run)


def _component(service: str, settings: SuiteSettings) -> Component:
    if service == "edge":
        return assemble_edge(settings.edge)
    if service == "cache":
        return assemble_cache(settings.cache)
    if service == "router":
        return assemble_router(settings.router)
    return assemble_executor(settings.executor)


def config(arguments: argparse.Namespace) -> None:
    """Shows every value in force, or explains what is wrong and ends with 2."""
    settings = suite_settings(arguments.config)
    console = Console()
    console.print(f"# {arguments.config or 'no file: defaults and the environment'}", style="dim", markup=False)
    for section in vars(settings).values():
        console.print(f"[bold]{section.section}:[/]")
        for key, value in section.model_dump(mode="json").items():
            description = type(section).model_fields[key].description or ""
            console.print(f"  {key}: {value!r}", markup=False, highlight=False, end="")
            console.print(f"  # {description}", style="dim", markup=False, highlight=False)
