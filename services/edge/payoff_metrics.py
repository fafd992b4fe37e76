"""Whether asking models first pays, as Prometheus reads it: what each pair of models cost and spared."""

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.edge.payoff import Payoff


class PayoffMetrics(Collector):
    """By the model asked first and the strong one; `payoffs` is only read, at each scrape, in another thread."""

    def __init__(self, payoffs: Mapping[tuple[str, str], Payoff]) -> None:
        self._payoffs = payoffs

    def describe(self) -> Iterator[Metric]:
        """The families without samples."""
        yield from _families()

    def collect(self) -> Iterator[Metric]:
        """The books as they are now."""
        families = _families()
        for pair, payoff in list(self._payoffs.items()):
            books = payoff.answers, payoff.kept, payoff.expected_kept, payoff.cost, payoff.times_set_aside, payoff.lost
            for family, value in zip(families, books, strict=True):
                family.add_metric(pair, value)
        yield from families


def _families() -> tuple[CounterMetricFamily | GaugeMetricFamily, ...]:
    def counter(name: str, text: str) -> CounterMetricFamily:
        return CounterMetricFamily(f"fulcrum_edge_first_{name}", text, labels=("model", "strong"))

    return (
        counter("answers", "Answers of a model that was asked before the strong one, of known cost."),
        counter("kept", "Of these, those that were served."),
        counter("expected_kept", "Of these, those that were expected to be."),
        counter("cost_ratio", "What they cost, in answers of the strong model."),
        counter("set_aside", "Times that the model was not asked first any more for an hour."),
        GaugeMetricFamily(
            "fulcrum_edge_first_lost_ratio",
            "Answers of the strong model that asking first cost beyond what it spared, since that was least.",
            labels=("model", "strong"),
        ),
    )
