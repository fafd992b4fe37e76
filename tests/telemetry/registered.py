"""The metrics that a suite registers, and those that docs/telemetry.md promises."""

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from services.chassis.telemetry import watch_process
from services.chassis.trace_export import TraceExport
from services.chassis.tracing import TracingSettings
from services.cli.assembly import assemble_suite, suite_settings

_ROW = re.compile(r"\| `(fulcrum_\w+)` \| (\w+) \| ([\w, ]*?) ?\|")


@dataclass(frozen=True)
class Metric:
    """A metric under the name of its samples, a histogram's without suffix."""

    name: str
    kind: str
    labels: tuple[str, ...]


def registered() -> set[Metric]:
    """Every metric that a process with all services registers."""
    process, components = assemble_suite(suite_settings(Path("deploy/local.yaml")))
    for collector in (one for component in components for one in component.metrics):
        process.registry.register(collector)
    asyncio.run(_watched(process.registry))
    TraceExport(TracingSettings(endpoint="http://127.0.0.1:9"), "test", process.registry)
    return {metric for collector in _collectors(process.registry) for metric in _metrics(collector)}


async def _watched(registry: CollectorRegistry) -> None:
    watch_process(registry)


def promised() -> list[Metric]:
    """The rows of the metrics table."""
    rows = _ROW.findall(Path("docs/telemetry.md").read_text())
    return [Metric(name, kind, tuple(filter(None, labels.split(", ")))) for name, kind, labels in rows]


def _collectors(registry: CollectorRegistry) -> list[Any]:
    return [one for one in registry._collector_to_names if hasattr(one, "describe")]  # ours, not the process's own


def _metrics(collector: Any) -> list[Metric]:
    found = []
    for family in collector.describe():
        labels = getattr(collector, "_labelnames", None)
        labels = tuple(family._labelnames if labels is None else labels)
        suffix = "_total" if family.type == "counter" else ""
        found.append(Metric(family.name + suffix, family.type, labels))
    return found
