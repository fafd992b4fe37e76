"""What the router counts: its decisions by chosen model and reason, each on the span of its call, and its promise."""

from collections.abc import Callable, Iterator

from prometheus_client import Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.chassis.tracing import annotate
from services.router.drift import PromiseState
from services.router.plan import Plan


class PromiseMetrics(Collector):
    """Whether the promise is kept, as it is at each scrape; nothing while no router is loaded."""

    def __init__(self, read: Callable[[], PromiseState | None]) -> None:
        self._read = read

    def describe(self) -> Iterator[Metric]:
        """The families without samples."""
        yield from self._families()

    def collect(self) -> Iterator[Metric]:
        """The state as it is now."""
        suspended, shift, judged, harmed = self._families()
        if state := self._read():
            suspended.add_metric([], state.suspended)
            shift.add_metric([], state.shift)
            judged.add_metric([], state.judged)
            harmed.add_metric([], state.harmed)
        yield from (suspended, shift, judged, harmed)

    def _families(self) -> tuple[GaugeMetricFamily | CounterMetricFamily, ...]:
        return (
            GaugeMetricFamily("fulcrum_router_promise_suspended", "1 where weaker models harm more than allowed."),
            GaugeMetricFamily("fulcrum_router_shift", "How far predicted losses moved from the calibrated ones."),
            CounterMetricFamily("fulcrum_router_judged_answers", "Weaker answers scored beside the default's."),
            CounterMetricFamily("fulcrum_router_harmed_answers", "Those worse than the default's."),
        )


class RouterMetrics:
    """Counts plans; labels come from the catalogue and from the reasons' enumeration."""

    def __init__(self, promise: Callable[[], PromiseState | None]) -> None:
        """`promise` is called at each scrape, in another thread, so it only reads attributes."""
        self._decisions = Counter(
            "fulcrum_router_decisions", "Plans by their first model and why.", ["model", "reason"], registry=None
        )
        self._promise = PromiseMetrics(promise)

    @property
    def collectors(self) -> tuple[Collector, ...]:
        """Everything here, for a registry."""
        return (self._decisions, self._promise)

    def decided(self, plan: Plan) -> None:
        """Counts one plan."""
        model = plan.models[0].model
        self._decisions.labels(model, plan.reason.value).inc()
        annotate({"fulcrum.route.model": model, "fulcrum.route.reason": plan.reason.value})
