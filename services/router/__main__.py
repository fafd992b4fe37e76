"""Wires the router; `python -m services.router` serves it alone."""

import asyncio

import grpc
from fulcrum.router.v1 import router_service_pb2, router_service_pb2_grpc

from services.chassis.server import Component, run_component
from services.router.router import load_router
from services.router.service import RouterServicer
from services.router.settings import RouterSettings


def assemble(settings: RouterSettings) -> Component:
    """The router as a component; reads nothing before it is started."""
    servicer = RouterServicer()

    def register(server: grpc.aio.Server) -> None:
        router_service_pb2_grpc.add_RouterServiceServicer_to_server(servicer, server)

    async def start() -> None:
        router = await asyncio.to_thread(load_router, settings)
        router.follow()
        servicer.open(router)

    return Component(
        name="router",
        services=(router_service_pb2.DESCRIPTOR.services_by_name["RouterService"].full_name,),
        register=register,
        start=start,
        close=servicer.close,
        metrics=servicer.metrics.collectors,
    )


def main() -> None:
    """Serves the router until SIGTERM."""
    run_component("router", RouterSettings, assemble)


if __name__ == "__main__":
    main()
