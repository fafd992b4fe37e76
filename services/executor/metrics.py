"""What the executor counts of each model: waits, machine time, tokens; and its answer on the span of the call."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.chassis.tracing import annotate, exemplar, recording
from services.executor.engine import Finish, GenerateRequest, ModelInfo, ModelState

_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


_LOADED = (ModelState.LOADING, ModelState.READY, ModelState.UNLOADING)


class Models(Protocol):
    """Where the models are: see `ModelRegistry`."""

    @property
    def infos(self) -> Sequence[ModelInfo]:
        """Every model as it is now."""


class ModelMetrics(Collector):
    """What is true of each model now, read at each scrape: what scaling looks at."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def describe(self) -> Iterator[Metric]:
        """The families without samples."""
        yield from self._families()

    def collect(self) -> Iterator[Metric]:
        """Waiting requests, KV memory in use, and bytes of those that are loaded."""
        waiting, used, memory = self._families()
        for info in self._models.infos:
            waiting.add_metric([info.name], info.waiting)
            if info.kv_used is not None:
                used.add_metric([info.name], info.kv_used)
                memory.add_metric([info.name], info.memory_bytes if info.state in _LOADED else 0)
        yield from (waiting, used, memory)

    def _families(self) -> tuple[GaugeMetricFamily, GaugeMetricFamily, GaugeMetricFamily]:
        return (
            GaugeMetricFamily("fulcrum_executor_waiting", "Requests waiting for a place.", labels=["model"]),
            GaugeMetricFamily(
                "fulcrum_executor_kv_used_ratio", "Share of KV memory that answers under way hold.", labels=["model"]
            ),
            GaugeMetricFamily(
                "fulcrum_executor_memory_bytes", "Bytes set aside for a model; 0 while not loaded.", labels=["model"]
            ),
        )


class ExecutorMetrics:
    """Counts finished generations; the model label holds names of the settings alone."""

    def __init__(self, models: Models) -> None:
        def histogram(name: str, text: str) -> Histogram:
            return Histogram(f"fulcrum_executor_{name}", text, ["model"], buckets=_SECONDS, registry=None)

        self._queue = histogram("queue_seconds", "Seconds that an answer waited for a place.")
        self._first_token = histogram("first_token_seconds", "Seconds from arrival to the first text.")
        self._seconds = histogram("seconds", "Seconds from arrival to the end.")
        self._machine = Counter(
            "fulcrum_executor_machine_seconds", "Seconds of machine work; 0 on remote models.", ["model"], registry=None
        )
        self._tokens = Counter("fulcrum_executor_tokens", "Tokens, each of one kind.", ["model", "kind"], registry=None)
        self._active = Gauge("fulcrum_executor_active", "Requests under way or waiting.", ["model"], registry=None)
        self._now = ModelMetrics(models)
        self.encoder_waiting = Gauge(
            "fulcrum_executor_encoder_waiting", "Texts admitted to the encoder and not embedded yet.", registry=None
        )

    @property
    def collectors(self) -> tuple[Collector, ...]:
        """Everything here, for a registry."""
        return tuple(one for one in vars(self).values() if hasattr(one, "collect"))

    def begin(self, model: str) -> None:
        """Notes that a request for a known model arrived."""
        self._active.labels(model).inc()

    def end(self, model: str) -> None:
        """Notes that it ended, one way or the other."""
        self._active.labels(model).dec()

    def finished(self, info: ModelInfo, request: GenerateRequest, finish: Finish) -> None:
        """Counts a finished answer, and tells it to the span of the call."""
        model, timing, usage = info.name, finish.timing, finish.usage
        self._queue.labels(model).observe(timing.queue_s, exemplar())
        self._first_token.labels(model).observe(timing.first_token_s, exemplar())
        self._seconds.labels(model).observe(timing.total_s, exemplar())
        self._machine.labels(model).inc(timing.machine_s)
        if usage:
            fresh = usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens
            for kind, count in (
                ("input", fresh),
                ("cached_input", usage.cached_input_tokens),
                ("cache_write", usage.cache_write_tokens),
                ("output", usage.output_tokens),
            ):
                self._tokens.labels(model, kind).inc(max(0, count))
        if recording():
            _tell(info, request, finish)


def _tell(info: ModelInfo, request: GenerateRequest, finish: Finish) -> None:
    """One inference by OpenTelemetry's GenAI conventions; what stands in it as text is left out."""
    sampling, usage = request.sampling, finish.usage
    annotate(
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": info.provider,
            "gen_ai.request.model": info.name,
            "gen_ai.request.stream": True,
            "gen_ai.request.max_tokens": sampling.max_output_tokens,
            "gen_ai.request.temperature": sampling.temperature,
            "gen_ai.request.top_p": sampling.top_p,
            "gen_ai.request.top_k": sampling.top_k,
            "gen_ai.request.seed": sampling.seed,
            "gen_ai.response.model": info.name,
            "gen_ai.response.finish_reasons": [finish.reason.value],
            "gen_ai.response.time_to_first_chunk": finish.timing.first_token_s,
            "gen_ai.usage.input_tokens": usage.input_tokens if usage else None,
            "gen_ai.usage.output_tokens": usage.output_tokens if usage else None,
            "gen_ai.usage.cache_read.input_tokens": usage.cached_input_tokens if usage else None,
            "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens if usage else None,
            "fulcrum.queue_seconds": finish.timing.queue_s,
            "fulcrum.machine_seconds": finish.timing.machine_s,
        }
    )
