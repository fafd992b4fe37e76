"""Wires edge: channels to its backends, the pipeline, the servicer."""

from collections.abc import Callable
from typing import cast

import grpc
from fulcrum.edge.v1.edge_service_pb2_grpc import add_EdgeServiceServicer_to_server

from services.chassis.balanced import BalancedChannel
from services.chassis.channel import BackendSettings, connect
from services.chassis.server import Component, run_component
from services.chassis.settings import ConfigError
from services.chassis.tls import ClientCertificates
from services.edge.attempts import Attempts
from services.edge.bindings import CacheBinding, EncoderBinding, ExecutorBinding, RouterBinding
from services.edge.catalogue import Catalogue
from services.edge.feedback import Feedback
from services.edge.ledger import Ledger
from services.edge.metrics import BackendCounts, EdgeMetrics
from services.edge.observation import ObservedPipeline
from services.edge.payoff_metrics import PayoffMetrics
from services.edge.pipeline import Pipeline
from services.edge.result_metrics import ResultMetrics
from services.edge.service import EdgeServicer
from services.edge.settings import EdgeSettings


def assemble(settings: EdgeSettings, local: grpc.aio.Channel | None = None) -> Component:
    """Edge over its backends; `local` reaches those of this process.

    Raises:
        ConfigError: a backend is in-process where there is none.
    """
    balanced: dict[str, grpc.aio.Channel] = {}

    def channel(name: str, backend: BackendSettings, retries: bool = True) -> grpc.aio.Channel:
        if not backend.in_process:
            certificates = ClientCertificates(backend.tls, f"edge.{name}.tls") if backend.tls else None
            made = connect(backend.address, retries, name=name, timeout_s=backend.timeout_s, certificates=certificates)
            balanced[name] = made
            return made
        if local is None:
            raise ConfigError(f"edge.{name}.address: got 'in-process', expected host:port, as edge runs alone here")
        return local

    encoder = EncoderBinding(channel("encoder", settings.encoder), settings.encoder.timeout_s)
    cache = CacheBinding(channel("cache", settings.cache), settings.cache.timeout_s)
    router = RouterBinding(channel("router", settings.router), settings.router.timeout_s)
    executor = ExecutorBinding(channel("executor", settings.executor, retries=False), settings.executor.timeout_s)
    catalogue = Catalogue(router, settings.catalogue_refresh_s, settings.fallback_model)
    ledger = Ledger(settings.ledger.database, settings.ledger.power_safe, settings.ledger.keep_days)
    pipeline = Pipeline(settings, encoder, cache, router, executor, catalogue, ledger)
    metrics = EdgeMetrics()
    for name, opened in balanced.items():
        asked = pipeline.attempts if name == "executor" else None
        metrics.backends.register(name, _counts_of(cast(BalancedChannel, opened), asked))
    breakers = pipeline.attempts.breakers
    metrics.backends.register_models(lambda: {model: breaker.opened for model, breaker in list(breakers.items())})
    observed = ObservedPipeline(pipeline, metrics, settings.log_prompts)
    servicer = EdgeServicer(observed, ledger, Feedback(cache, router, pipeline.limits))

    async def start() -> None:
        await ledger.start()
        await catalogue.start()
        for setting, model in settings.judges.items():
            if catalogue.is_known and model not in catalogue.prices:
                known = ", ".join(catalogue.prices)
                raise ConfigError(f"{setting}: got {model!r}, expected a model of the router's catalogue: {known}")

    async def close() -> None:
        await pipeline.shadowing.close()
        await pipeline.judging.close()
        await pipeline.twins.close()
        await catalogue.close()
        await ledger.close()
        pipeline.attempts.close()
        for opened in balanced.values():
            await opened.close()
        if local:
            await local.close()

    return Component(
        "edge",
        ("fulcrum.edge.v1.EdgeService",),
        lambda server: add_EdgeServiceServicer_to_server(servicer, server),
        start,
        close,
        (*metrics.collectors, *_results(pipeline), PayoffMetrics(pipeline.cascading.payoffs)),
        for_tenants=frozenset({"Complete", "GetUsage", "Feedback"}),
    )


def _results(pipeline: Pipeline) -> tuple[ResultMetrics, ...]:
    compared, first = pipeline.shadowing.counts, pipeline.cascading.counts
    text = "Answers drawn for comparison with the strong model's, by how that went."
    return (
        ResultMetrics("fulcrum_edge_shadow", text, compared),
        ResultMetrics("fulcrum_edge_asked_first", "Answers of models that were asked first, by how they went.", first),
    )


def _counts_of(channel: BalancedChannel, asked: Attempts | None) -> Callable[[], BackendCounts]:
    """A backend's counts; calls that run a model are repeated by edge, all others by their channel."""

    def read() -> BackendCounts:
        retries, hedges = (asked.counts.retries, asked.counts.hedges) if asked else (channel.counts.retries, 0)
        breakers = [replica.breaker for replica in channel.replicas]
        set_aside, opened = sum(breaker.is_open for breaker in breakers), sum(breaker.opened for breaker in breakers)
        refused = asked.refused if asked else channel.unpaid
        return BackendCounts(retries, hedges, len(breakers), set_aside, opened, refused)

    return read


def main() -> None:
    """Serves edge alone."""
    run_component("edge", EdgeSettings, assemble)


if __name__ == "__main__":
    main()
