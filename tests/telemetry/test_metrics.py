"""Metrics have the names, types and labels that docs/telemetry.md promises, and labels stay few whatever is asked."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from fulcrum.router.v1 import objective_pb2
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from services.edge.chat import CacheNote, Degradation, Finish, FinishReason, Outcome, RouteNote, Usage
from services.edge.metrics import BackendCounts, EdgeMetrics
from services.edge.quality_budget import QualityBudget
from services.edge.receipt import LEVERS, Cost, Latency, LeverSaving, Receipt
from tests.telemetry.collector import collector
from tests.telemetry.registered import promised, registered
from tests.telemetry.running import Running, four_processes, one_process

PROMTOOL = shutil.which("promtool")


@pytest_asyncio.fixture(scope="module", params=["one process", "four processes"])
async def suite(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A suite that answered a miss, an exact hit and a refusal."""
    start = one_process if request.param == "one process" else four_processes
    with collector() as spans:
        async with start(tmp_path_factory.mktemp("suite"), spans) as running:
            await running.complete("What is the capital of Norway?")
            await running.complete("What is the capital of Norway?")
            await refuse(running, 0)
            yield running


async def refuse(suite: Running, number: int) -> None:
    """Asks for a model that is not there, under names of its own."""
    named = (("x-request-id", f"request-{number}"), ("x-tenant", f"tenant-{number}"))
    objective = objective_pb2.Objective(allowed_models=[f"model-{number}"])
    with pytest.raises(grpc.aio.AioRpcError):
        await suite.complete(f"What is {number}?", metadata=named, objective=objective)


def test_the_registry_is_what_the_table_says() -> None:
    """Each metric is in the table with its type and labels, and no other is: a rename fails here."""
    rows = promised()
    assert len(rows) > 30
    assert len(set(rows)) == len(rows)
    assert registered() == set(rows)


Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def values(suite: Running) -> Series:
    found: Series = {}
    for family in prometheus(await suite.scrape()):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            found[key] = found.get(key, 0) + sample.value
    return found


async def test_a_miss_and_a_hit_are_counted(suite: Running) -> None:
    """Requests, tokens, dollars, decisions, lookups and machine time are counted by what the receipts say."""
    before = await values(suite)
    _, missed = await suite.complete("What is the capital of Sweden?")
    _, hit = await suite.complete("What is the capital of Sweden?")
    after = await values(suite)

    def grown(name: str, **labels: str) -> float:
        """By how much all series of that name and those labels grew together."""
        wanted = labels.items()
        return sum(
            value - before.get(key, 0)
            for key, value in after.items()
            if key[0] == f"fulcrum_{name}" and wanted <= key[1]
        )

    model = missed.model
    assert hit.model == model
    assert grown("edge_requests_total", result="miss", model=model) == 1
    assert grown("edge_requests_total", result="exact_hit", model=model) == 1
    read = sum(grown("edge_tokens_total", model=model, kind=kind) for kind in ("input", "cached_input"))
    assert read == missed.usage.input_tokens > 0
    assert grown("edge_tokens_total", model=model, kind="reused_output") == hit.usage.output_tokens > 0
    actual = missed.cost.actual_nano_usd * 1e-9
    baseline = (missed.cost.baseline_nano_usd + hit.cost.baseline_nano_usd) * 1e-9
    assert grown("edge_cost_usd_total", model=model) == pytest.approx(actual)
    assert grown("edge_baseline_usd_total") == pytest.approx(baseline)
    assert baseline - grown("edge_saved_usd_total") + grown("edge_lost_usd_total") == pytest.approx(actual)
    assert grown("executor_tokens_total", model=model, kind="output") == missed.usage.output_tokens
    assert grown("executor_machine_seconds_total", model=model) > 0
    assert grown("executor_queue_seconds_count", model=model) == 1
    assert grown("router_decisions_total") == 1
    assert grown("cache_lookups_total", outcome="exact_hit") == 1
    assert grown("cache_lookups_total", outcome="miss") == 2
    assert grown("cache_entries") == 1
    assert grown("edge_first_token_seconds_count", result="miss") == 1
    assert grown("rpc_server_calls_total", service="fulcrum.edge.v1.EdgeService", code="OK") == 2
    assert after["fulcrum_edge_active", frozenset()] == 0
    assert after["fulcrum_executor_active", frozenset({("model", model)})] == 0


async def test_refusals_are_counted_by_reason(suite: Running) -> None:
    """A refused request is counted by its code, and by the reason that its client was told."""
    edge, router = "fulcrum.edge.v1.EdgeService", "fulcrum.router.v1.RouterService"
    found = await values(suite)
    for service, method in ((edge, "Complete"), (router, "Route")):
        labels = {"service": service, "method": method}
        refusals = frozenset({**labels, "reason": "MODEL_UNKNOWN"}.items())
        assert found["fulcrum_rpc_server_refusals_total", refusals] >= 1
        assert found["fulcrum_rpc_server_calls_total", frozenset({**labels, "code": "NOT_FOUND"}.items())] >= 1


async def test_latencies_point_at_traces(suite: Running) -> None:
    """Scraped as OpenMetrics, a latency bucket carries the id of a recorded trace."""
    assert suite.collector
    found: set[str] = set()
    for page in (await suite.scrape(openmetrics=True)).split("# EOF"):
        families = openmetrics(f"{page.lstrip()}# EOF\n") if page.strip() else ()  # type: ignore[no-untyped-call]
        for family in families:
            if family.name in ("fulcrum_edge_seconds", "fulcrum_executor_first_token_seconds"):
                ids = {one.exemplar.labels["trace_id"] for one in family.samples if one.exemplar}
                assert ids
                found |= ids
    for trace in found:
        assert await asyncio.to_thread(suite.collector.trace, trace, 1), trace


async def test_series_do_not_grow_with_what_is_asked(suite: Running) -> None:
    """200 model names, tenants and request ids leave as many series as one, but for the sixteen codes there are."""
    before = bounded(await values(suite))
    for number in range(1, 201):
        await refuse(suite, number)
    assert bounded(await values(suite)) == before


def bounded(found: Series) -> set[object]:
    """The series by their labels, any canonical code for any other: a lookup beside a refusal may be cancelled."""
    codes = {("code", code.name) for code in grpc.StatusCode}
    return {(name, labels - codes) for name, labels in found}


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")
async def test_promtool_finds_nothing_wrong(suite: Running) -> None:
    """Prometheus' own linter accepts each process's metrics."""
    assert PROMTOOL
    for port in suite.metrics_ports:
        page = await Running(suite.edge, None, (port,)).scrape()
        ours = "\n".join(line for line in page.splitlines() if "fulcrum_" in line and "_created" not in line) + "\n"
        command = [PROMTOOL, "check", "metrics"]
        checked = await asyncio.to_thread(subprocess.run, command, input=ours, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr


def receipt(model: str, result: str = "miss", saved: int = 5) -> Receipt:
    finish = Finish(FinishReason.STOP, Usage(100, 60, 10, 7))
    outcome = Outcome(
        model,
        finish,
        CacheNote(result, probability=0.95),
        RouteNote(predicted_loss=0.004),
        degradations=(Degradation("router", "UNAVAILABLE", "the strong model answers"),),
    )
    cost = Cost("strong", 100, tuple(LeverSaving(lever, 1.0, saved) for lever in LEVERS), 100 - 4 * saved)
    return Receipt("id", "r", outcome, cost, Latency(0.1, 0.2, 0.1), QualityBudget(0.02, 0.01, 0.01))


def _registry(metrics: EdgeMetrics) -> CollectorRegistry:
    registry = CollectorRegistry()
    for one in metrics.collectors:
        registry.register(one)
    return registry


def test_models_beyond_a_bound_share_one_label() -> None:
    """Even a catalogue of a thousand names makes no more than 101 labels."""
    metrics = EdgeMetrics()
    registry = _registry(metrics)
    for number in range(1000):
        metrics.answered(receipt(f"model-{number}"))
    found = {
        sample.labels["model"]
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "fulcrum_edge_requests_total"
    }
    assert len(found) == 101
    assert registry.get_sample_value("fulcrum_edge_requests_total", {"result": "miss", "model": "other"}) == 900


def test_tokens_are_counted_once_and_losses_apart() -> None:
    """Kinds of tokens do not overlap, and a lever that cost money counts as loss, for a counter cannot fall."""
    metrics = EdgeMetrics()
    registry = _registry(metrics)
    metrics.answered(receipt("m", saved=-5))
    tokens = {
        kind: registry.get_sample_value("fulcrum_edge_tokens_total", {"model": "m", "kind": kind})
        for kind in ("input", "cached_input", "cache_write", "output")
    }
    assert tokens == {"input": 30, "cached_input": 60, "cache_write": 10, "output": 7}
    assert registry.get_sample_value("fulcrum_edge_lost_usd_total", {"lever": "routing"}) == pytest.approx(5e-9)
    assert registry.get_sample_value("fulcrum_edge_saved_usd_total", {"lever": "routing"}) == 0
    assert registry.get_sample_value("fulcrum_edge_expected_worse_total", {"part": "router"}) == 0.004
    assert registry.get_sample_value("fulcrum_edge_allowed_worse_total", {"part": "cache"}) == 0.01
    degraded = {"part": "router", "status": "UNAVAILABLE"}
    assert registry.get_sample_value("fulcrum_edge_degradations_total", degraded) == 1
    metrics.answered(receipt("m", "semantic_hit"))
    assert registry.get_sample_value("fulcrum_edge_expected_worse_total", {"part": "cache"}) == pytest.approx(0.05)


def test_backends_are_read_at_each_scrape() -> None:
    """A registered backend's counts are shown as they are when they are asked for."""
    metrics, counts = EdgeMetrics(), BackendCounts(0, 0, 2, 0)
    registry = _registry(metrics)
    metrics.backends.register("executor", lambda: counts)
    counts = replace(counts, retries=3, hedges=2, open_replicas=1)
    attempts = "fulcrum_edge_extra_attempts_total"
    assert registry.get_sample_value(attempts, {"backend": "executor", "kind": "retry"}) == 3
    assert registry.get_sample_value(attempts, {"backend": "executor", "kind": "hedge"}) == 2
    assert registry.get_sample_value("fulcrum_edge_backend_open_replicas", {"backend": "executor"}) == 1


async def test_prompts_are_logged_where_that_is_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With edge.log_prompts prompts are logged, and that they are is said at start; without it they are not."""
    for wanted in (True, False):
        monkeypatch.setenv("FULCRUM_EDGE__LOG_PROMPTS", str(wanted).lower())
        folder = tmp_path / str(wanted)
        folder.mkdir()
        async with one_process(folder, None) as suite:
            await suite.complete("What is the capital of Portugal?")
        told = capsys.readouterr().out
        assert ("capital of Portugal" in told) is wanted
        assert ("prompts are logged" in told) is wanted
