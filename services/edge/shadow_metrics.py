"""How comparisons with the strong model went, as Prometheus reads it."""

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector


class ShadowMetrics(Collector):
    """Counts by result; `counts` is only read, at each scrape, in another thread."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._counts = counts

    def describe(self) -> Iterator[CounterMetricFamily]:
        """The family without samples."""
        yield self._family()

    def collect(self) -> Iterator[CounterMetricFamily]:
        """The counts as they are now."""
        family = self._family()
        for result, count in list(self._counts.items()):
            family.add_metric([result], count)
        yield family

    def _family(self) -> CounterMetricFamily:
        text = "Answers drawn for comparison with the strong model's, by how that went."
        return CounterMetricFamily("fulcrum_edge_shadow", text, labels=["result"])
