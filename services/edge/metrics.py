"""What edge counts: requests by how they were answered, tokens, dollars by lever, waits, degradations, backends."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.chassis.telemetry import BoundedLabel
from services.chassis.tracing import exemplar
from services.edge.receipt import LEVERS, Receipt

_NANO = 1e-9
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_PARTS = ("cache", "router")  # those that may spend the quality budget
_REUSED = ("exact_hit", "semantic_hit", "shared")


@dataclass(frozen=True, slots=True)
class BackendCounts:
    """Attempts beyond the first so far; replicas known, and set aside by a circuit breaker now and so far."""

    retries: int
    hedges: int
    replicas: int
    open_replicas: int
    opened: int = 0
    refused: int = 0  # attempts beyond the first that no budget was left for


class BackendMetrics(Collector):
    """Attempts beyond the first, and circuit breakers, of each registered backend and of models."""

    def __init__(self) -> None:
        self._backends: dict[str, Callable[[], BackendCounts]] = {}
        self._models: Callable[[], Mapping[str, int]] = dict

    def register(self, backend: str, read: Callable[[], BackendCounts]) -> None:
        """Shows a backend's counts from now on.

        Args:
            backend: its name in the settings, such as executor.
            read: called at each scrape, in another thread, so it only reads attributes.
        """
        self._backends[backend] = read

    def register_models(self, read: Callable[[], Mapping[str, int]]) -> None:
        """Shows how often each model of the catalogue was set aside; `read` is called as for a backend."""
        self._models = read

    def describe(self) -> Iterator[Metric]:
        """The families without samples."""
        yield from self._families()

    def collect(self) -> Iterator[Metric]:
        """The counts as they are now."""
        attempts, refused, opened, models, replicas, open_replicas = self._families()
        for backend, read in self._backends.items():
            counts = read()
            attempts.add_metric([backend, "retry"], counts.retries)
            attempts.add_metric([backend, "hedge"], counts.hedges)
            refused.add_metric([backend], counts.refused)
            opened.add_metric([backend], counts.opened)
            replicas.add_metric([backend], counts.replicas)
            open_replicas.add_metric([backend], counts.open_replicas)
        for model, times in self._models().items():
            models.add_metric([model], times)
        yield from (attempts, refused, opened, models, replicas, open_replicas)

    def _families(self) -> tuple[CounterMetricFamily | GaugeMetricFamily, ...]:
        def counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
            return CounterMetricFamily(f"fulcrum_edge_{name}", text, labels=labels)

        def gauge(name: str, text: str) -> GaugeMetricFamily:
            return GaugeMetricFamily(f"fulcrum_edge_{name}", text, labels=["backend"])

        return (
            counter("extra_attempts", "Calls beyond the first, by why.", "backend", "kind"),
            counter("refused_attempts", "Calls beyond the first that no budget was left for.", "backend"),
            counter("backend_set_aside", "Times that a circuit breaker began to keep calls from a replica.", "backend"),
            counter("model_set_aside", "Times that a circuit breaker began to keep requests from a model.", "model"),
            gauge("backend_replicas", "Replicas known."),
            gauge("backend_open_replicas", "Replicas that a circuit breaker keeps calls away from."),
        )


@dataclass(frozen=True, slots=True)
class _Answers:
    """The children for one result and model: looking labels up costs more than counting."""

    requests: Counter
    first_token: Histogram
    seconds: Histogram
    tokens: tuple[Counter, Counter, Counter, Counter]
    cost: Counter
    unpriced: Counter


class EdgeMetrics:
    """Counts receipts; labels come from enumerations and from the catalogue's model names."""

    def __init__(self) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"fulcrum_edge_{name}", text, labels, registry=None)

        def histogram(name: str, text: str) -> Histogram:
            return Histogram(f"fulcrum_edge_{name}", text, ["result"], buckets=_SECONDS, registry=None)

        self._requests = counter("requests", "Answered requests by the cache's part in them.", "result", "model")
        self._tokens = counter("tokens", "Tokens, each of one kind; reused ones were not paid for.", "model", "kind")
        self._baseline = counter("baseline_usd", "What the strong model would have cost with nothing reused.")
        self._cost = counter("cost_usd", "What answers cost.", "model")
        self._saved = counter("saved_usd", "What a lever saved.", "lever")
        self._lost = counter("lost_usd", "What a lever cost beyond what it found.", "lever")
        self._unpriced = counter("unpriced_requests", "Answers in none of the dollars, as a price is unknown.", "model")
        self._degradations = counter("degradations", "Parts that failed and were done without.", "part", "status")
        self._allowed = counter("allowed_worse", "Answers that the bound allowed to be worse, by whose share.", "part")
        self._expected = counter("expected_worse", "Answers predicted to be worse, by whose doing.", "part")
        self._first_token = histogram("first_token_seconds", "Seconds from arrival to the first text.")
        self._seconds = histogram("seconds", "Seconds from arrival to the receipt.")
        self._active = Gauge("fulcrum_edge_active", "Requests under way.", registry=None)
        self.backends = BackendMetrics()
        self._model = BoundedLabel()
        self._answers: dict[tuple[str, str], _Answers] = {}
        self._levers = {lever: (self._saved.labels(lever), self._lost.labels(lever)) for lever in LEVERS}
        self._allowed_to = {part: self._allowed.labels(part) for part in _PARTS}
        self._expected_of = {part: self._expected.labels(part) for part in _PARTS}

    @property
    def collectors(self) -> tuple[Collector, ...]:
        """Everything here, for a registry."""
        return tuple(one for one in vars(self).values() if hasattr(one, "collect"))

    def begin(self) -> None:
        """Notes that a request arrived."""
        self._active.inc()

    def end(self) -> None:
        """Notes that a request ended, one way or the other."""
        self._active.dec()

    def answered(self, receipt: Receipt) -> None:
        """Counts one receipt."""
        outcome = receipt.outcome
        result = outcome.cache.result
        answers = self._of(result, self._model(outcome.model))
        answers.requests.inc()
        answers.first_token.observe(receipt.latency.first_token_s, exemplar())
        answers.seconds.observe(receipt.latency.total_s, exemplar())
        for degradation in outcome.degradations:
            self._degradations.labels(degradation.part, degradation.status).inc()
        usage = outcome.finish.usage
        if usage:
            fresh = usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens
            counts = (fresh, usage.cached_input_tokens, usage.cache_write_tokens, usage.output_tokens)
            for child, count in zip(answers.tokens, counts, strict=True):
                if count > 0:
                    child.inc(count)
        self._count_cost(receipt, answers)
        self._count_quality(receipt)

    def _count_cost(self, receipt: Receipt, answers: _Answers) -> None:
        cost = receipt.cost
        if cost is None:
            answers.unpriced.inc()
            return
        answers.cost.inc(max(0, cost.actual_nano_usd) * _NANO)
        self._baseline.inc(cost.baseline_nano_usd * _NANO)
        for lever in cost.levers:
            if lever.saved_nano_usd:
                saved, lost = self._levers[lever.lever]
                (saved if lever.saved_nano_usd > 0 else lost).inc(abs(lever.saved_nano_usd) * _NANO)

    def _count_quality(self, receipt: Receipt) -> None:
        outcome, quality = receipt.outcome, receipt.quality
        self._allowed_to["cache"].inc(quality.cache_share)
        self._allowed_to["router"].inc(quality.router_share)
        if outcome.cache.result == "semantic_hit" and outcome.cache.probability is not None:
            self._expected_of["cache"].inc(max(0.0, 1 - outcome.cache.probability))
        elif outcome.route.predicted_loss:
            self._expected_of["router"].inc(max(0.0, outcome.route.predicted_loss))

    def _of(self, result: str, model: str) -> _Answers:
        found = self._answers.get((result, model))
        if found is None:
            reused = result in _REUSED
            first, second, third, last = (
                ("reused_input", "reused_input", "reused_input", "reused_output")
                if reused
                else ("input", "cached_input", "cache_write", "output")
            )
            label = self._tokens.labels
            found = self._answers[result, model] = _Answers(
                self._requests.labels(result, model),
                self._first_token.labels(result),
                self._seconds.labels(result),
                (label(model, first), label(model, second), label(model, third), label(model, last)),
                self._cost.labels(model),
                self._unpriced.labels(model),
            )
        return found
