"""How one kind of work went, as Prometheus reads it: a count a result."""

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector


class ResultMetrics(Collector):
    """Counts by result; `counts` is only read, at each scrape, in another thread."""

    def __init__(self, name: str, text: str, counts: Mapping[str, int]) -> None:
        self._name, self._text, self._counts = name, text, counts

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
        return CounterMetricFamily(self._name, self._text, labels=["result"])
