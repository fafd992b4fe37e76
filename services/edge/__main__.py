"""Wires edge: channels to its backends, the pipeline, the servicer."""

import grpc
from fulcrum.edge.v1.edge_service_pb2_grpc import add_EdgeServiceServicer_to_server

from services.chassis.channel import BackendSettings, connect
from services.chassis.server import Component, run_component
from services.chassis.settings import ConfigError
from services.edge.bindings import CacheBinding, EncoderBinding, ExecutorBinding, RouterBinding
from services.edge.catalogue import Catalogue
from services.edge.pipeline import Pipeline
from services.edge.service import EdgeServicer
from services.edge.settings import EdgeSettings
from services.edge.usage import UsageBook


def assemble(settings: EdgeSettings, local: grpc.aio.Channel | None = None) -> Component:
    """Edge over its backends; `local` reaches those of this process.

    Raises:
        ConfigError: a backend is in-process where there is none.
    """
    channels: list[grpc.aio.Channel] = [local] if local else []

    def channel(name: str, backend: BackendSettings, retries: bool = True) -> grpc.aio.Channel:
        if not backend.in_process:
            channels.append(connect(backend.address, retries, name=name, timeout_s=backend.timeout_s))
            return channels[-1]
        if local is None:
            raise ConfigError(f"edge.{name}.address: got 'in-process', expected host:port, as edge runs alone here")
        return local

    encoder = EncoderBinding(channel("encoder", settings.encoder), settings.encoder.timeout_s)
    cache = CacheBinding(channel("cache", settings.cache), settings.cache.timeout_s)
    router = RouterBinding(channel("router", settings.router), settings.router.timeout_s)
    executor = ExecutorBinding(channel("executor", settings.executor, retries=False), settings.executor.timeout_s)
    catalogue = Catalogue(router, settings.catalogue_refresh_s, settings.fallback_model)
    pipeline = Pipeline(settings, encoder, cache, router, executor, catalogue)
    servicer = EdgeServicer(pipeline, UsageBook(), settings.tenant_header)

    async def close() -> None:
        await catalogue.close()
        pipeline.attempts.close()
        for opened in channels:
            await opened.close()

    return Component(
        "edge",
        ("fulcrum.edge.v1.EdgeService",),
        lambda server: add_EdgeServiceServicer_to_server(servicer, server),
        catalogue.start,
        close,
    )


def main() -> None:
    """Serves edge alone."""
    run_component("edge", EdgeSettings, assemble)


if __name__ == "__main__":
    main()
