"""What the router counts: its decisions by chosen model and reason; and each on the span of its call."""

from prometheus_client import Counter
from prometheus_client.registry import Collector

from services.chassis.tracing import annotate
from services.router.policy import Plan


class RouterMetrics:
    """Counts plans; labels come from the catalogue and from the reasons' enumeration."""

    def __init__(self) -> None:
        self._decisions = Counter(
            "fulcrum_router_decisions", "Plans by their first model and why.", ["model", "reason"], registry=None
        )

    @property
    def collectors(self) -> tuple[Collector, ...]:
        """Everything here, for a registry."""
        return (self._decisions,)

    def decided(self, plan: Plan) -> None:
        """Counts one plan."""
        model = plan.models[0].model
        self._decisions.labels(model, plan.reason.value).inc()
        annotate({"fulcrum.route.model": model, "fulcrum.route.reason": plan.reason.value})
