"""Commands that run services: up, serve, and config to look at what they would run with."""

import argparse

from rich.console import Console

from services.cache.__main__ import assemble as assemble_cache
from services.chassis.access import in_words
from services.chassis.server import Component, ServerProcess, run_until_stopped, stop_on_signals
from services.chassis.settings import ConfigError, ServerSettings
from services.chassis.telemetry import configure_logging
from services.cli.address import default_address, reachable
from services.cli.assembly import SuiteSettings, assemble_suite, suite_settings
from services.cli.files import problems
from services.cli.printing import plain
from services.edge.__main__ import assemble as assemble_edge
from services.executor.__main__ import assemble as assemble_executor
from services.router.__main__ import assemble as assemble_router


def up(arguments: argparse.Namespace) -> None:
    """Runs all services in one process until SIGTERM or Ctrl-C."""
    console = Console(stderr=True, soft_wrap=True)

    async def serve() -> None:
        configure_logging(settings.server)
        process, components = assemble_suite(settings)

        def ready(port: int) -> None:
            console.print(welcome(settings.server, port))
            failed = ", ".join(name for component in components for name in component.failed())
            if failed:
                console.print(f"  [bold red]could not be loaded: {plain(failed)}[/]; `fulcrum models` says why")

        await process.serve(components, stop_on_signals(), ready)

    settings = suite_settings(arguments.config)
    run_until_stopped(serve)


def welcome(server: ServerSettings, port: int) -> str:
    """Where the suite answers, what holds for its callers, and a command that works from another terminal, if any."""
    holds = plain(in_words(server.host, server.tls, server.identity))
    answers = f"[bold]Fulcrum[/] answers at [bold]{plain(f'{server.host}:{port}')}[/]  ({holds})"
    accepted = server.identity.accept
    if set(accepted) == {"header"}:
        return f"{answers}\n  callers come through the proxy that sets {plain(server.identity.header)}"
    address = f"{reachable(server.host)}:{port}"
    key = "FULCRUM_API_KEY=... " if "keys" in accepted else ""
    there = "" if address == default_address({}) else f" --address {address}"
    there += " --ca FILE" if server.tls else ""
    there += " --certificate FILE --key FILE" if server.tls and server.tls.client_ca else ""
    command = f'{key}fulcrum complete "What is the capital of Norway?"{there}'
    return f"{answers}\n  in another terminal:  {plain(command)}"


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
    """Shows every value in force, or explains what is wrong, in values or the files they name, and ends with 2."""
    settings = suite_settings(arguments.config)
    if found := problems(settings, arguments.service):
        raise ConfigError("\n".join(found))
    console = Console(soft_wrap=True)
    console.print(f"# {arguments.config or 'no file: defaults and the environment'}", style="dim", markup=False)
    for section in vars(settings).values():
        console.print(f"[bold]{section.section}:[/]")
        for key, value in section.model_dump(mode="json").items():
            description = type(section).model_fields[key].description or ""
            console.print(f"  {key}: {value!r}", markup=False, highlight=False, end="")
            console.print(f"  # {description}", style="dim", markup=False, highlight=False)
