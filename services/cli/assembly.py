"""Wires every service into one process."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.cache.__main__ import assemble as assemble_cache
from services.cache.settings import CacheSettings
from services.chassis.server import Component, ServerProcess
from services.chassis.settings import ConfigError, Section, ServerSettings, load, read_file, refuse_unknown
from services.edge.__main__ import assemble as assemble_edge
from services.edge.settings import EdgeSettings
from services.executor.__main__ import assemble as assemble_executor
from services.executor.settings import ExecutorSettings
from services.router.__main__ import assemble as assemble_router
from services.router.settings import RouterSettings

SECTIONS: tuple[type[Section], ...] = (ServerSettings, EdgeSettings, CacheSettings, RouterSettings, ExecutorSettings)


@dataclass(frozen=True)
class SuiteSettings:
    """The settings of every service."""

    server: ServerSettings
    edge: EdgeSettings
    cache: CacheSettings
    router: RouterSettings
    executor: ExecutorSettings


def suite_settings(path: Path | None, overrides: Mapping[str, Mapping[str, Any]] | None = None) -> SuiteSettings:
    """Every section from the file, `overrides` over it, and the environment over both.

    Raises:
        ConfigError: a section, a key or a value is wrong.
    """
    sections = {name: dict(values) for name, values in read_file(path).items()}
    refuse_unknown(sections, SECTIONS)
    for name, values in (overrides or {}).items():
        sections.setdefault(name, {}).update(values)
    return SuiteSettings(
        load(ServerSettings, sections),
        load(EdgeSettings, sections),
        load(CacheSettings, sections),
        load(RouterSettings, sections),
        load(ExecutorSettings, sections),
    )


def check_judges(settings: SuiteSettings) -> None:
    """Raises ConfigError where a judge is a model that the executor, if it is of this process, does not serve."""
    for setting, model in settings.edge.judges.items():
        if settings.edge.executor.in_process and model not in settings.executor.models:
            served = ", ".join(settings.executor.models) or "none is set"
            raise ConfigError(f"{setting}: got {model!r}, expected a model of executor.models: {served}")


def assemble_suite(settings: SuiteSettings) -> tuple[ServerProcess, list[Component]]:
    """One process and its components: those that edge calls first, edge last.

    Raises:
        ConfigError: a service, or a judge, cannot be had as the settings say.
    """
    check_judges(settings)
    process = ServerProcess(settings.server)
    backends = [
        assemble_executor(settings.executor),
        assemble_cache(settings.cache),
        assemble_router(settings.router),
    ]
    edge = assemble_edge(settings.edge, process.local_channel(backends))
    return process, [*backends, edge]
