"""One real component in a process of its own: `python -m tests.unit.chassis.child_server`, settings by environment."""

import asyncio
from typing import Any

import grpc
from fulcrum.embedding.v1.embedding_service_pb2 import EmbedRequest, EmbedResponse
from fulcrum.embedding.v1.embedding_service_pb2_grpc import (
    EmbeddingServiceServicer,
    add_EmbeddingServiceServicer_to_server,
)
from pydantic import Field

from services.chassis.server import Component, run_component
from services.chassis.settings import Section
from tests.unit.chassis.parts import EMBEDDING


class ChildSettings(Section, section="child"):
    """How long an answer takes."""

    answer_s: float = Field(0.0, ge=0, description="seconds")


class SlowServicer(EmbeddingServiceServicer):
    """Says when a call has begun, and answers it later."""

    def __init__(self, answer_s: float) -> None:
        self._answer_s = answer_s

    async def Embed(self, request: EmbedRequest, context: Any) -> EmbedResponse:
        print("begun", flush=True)
        if request.texts[0] == "defect":
            raise KeyError("the customer's secret")
        await asyncio.sleep(self._answer_s)
        return EmbedResponse()


def assemble(settings: ChildSettings) -> Component:
    def register(server: grpc.aio.Server) -> None:
        add_EmbeddingServiceServicer_to_server(SlowServicer(settings.answer_s), server)

    async def start() -> None:
        pass

    async def close() -> None:
        print("closed", flush=True)

    return Component("child", (EMBEDDING,), register, start, close)


if __name__ == "__main__":
    run_component("child", ChildSettings, assemble)
