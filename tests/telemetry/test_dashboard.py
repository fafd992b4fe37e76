"""The Grafana dashboard asks only for metrics that exist, by labels that they have."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.telemetry.registered import Metric, registered

DASHBOARD = Path("deploy/grafana/fulcrum.json")
PROMTOOL = shutil.which("promtool")
_SELECTOR = re.compile(r"(fulcrum_\w+)\{([^}]*)\}")
_GROUPED = re.compile(r"\b(?:by|ignoring|on) \(([\w, ]*)\)")
_LEGEND = re.compile(r"\{\{(\w+)\}\}")
_FROM_PROMETHEUS = {"job", "instance", "le"}


@pytest.fixture(scope="module")
def targets() -> list[dict[str, Any]]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target for panel in panels for target in panel.get("targets", ())]


def series(metrics: set[Metric]) -> dict[str, set[str]]:
    """Labels by the name of each series."""
    found: dict[str, set[str]] = {}
    for metric in metrics:
        suffixes = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
        found |= {metric.name + suffix: set(metric.labels) | _FROM_PROMETHEUS for suffix in suffixes}
    return found


def test_every_query_names_what_is_registered(targets: list[dict[str, Any]]) -> None:
    """Each query's metrics are registered, and have the labels that it matches, groups and names by."""
    known, used = series(registered()), set()
    for target in targets:
        selectors = _SELECTOR.findall(target["expr"])
        assert selectors, target["expr"]
        assert len(selectors) == target["expr"].count("fulcrum_"), target["expr"]
        for name, matchers in selectors:
            assert name in known, target["expr"]
            used.add(name)
            labels = set(re.findall(r"(\w+)\s*[=!]~?", matchers))
            assert labels <= known[name], target["expr"]
        grouped = {one.strip() for group in _GROUPED.findall(target["expr"]) for one in group.split(",")}
        assert grouped <= set.union(*(known[name] for name, _ in selectors)), target["expr"]
        assert set(_LEGEND.findall(target["legendFormat"])) <= grouped, target["legendFormat"]
    metrics = {name.removesuffix("_bucket") for name in used}
    assert metrics == {metric.name for metric in registered()}


def test_the_panels_fit_the_grid() -> None:
    """Panels have ids of their own and do not lie over one another."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")
def test_prometheus_understands_every_query(targets: list[dict[str, Any]], tmp_path: Path) -> None:
    """Each query is valid PromQL."""
    assert PROMTOOL
    filled = [target["expr"].replace("$__rate_interval", "5m").replace("$__range", "6h") for target in targets]
    rules = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(filled)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    checked = subprocess.run([PROMTOOL, "check", "rules", str(file)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(rules)} rules found" in checked.stdout
