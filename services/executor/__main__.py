"""Wires the executor; `python -m services.executor` serves it alone."""

import asyncio
import os

import grpc
from fulcrum.embedding.v1 import embedding_service_pb2, embedding_service_pb2_grpc
from fulcrum.executor.v1 import executor_service_pb2, executor_service_pb2_grpc

from kernels.cuda_driver import CudaUnavailable
from services.chassis.server import Component, run_component
from services.chassis.settings import ConfigError
from services.executor.encoder_batcher import EncoderBatcher
from services.executor.models.checkpoint import InvalidCheckpoint
from services.executor.precision_report import load_precision_report
from services.executor.registry import make_registry
from services.executor.sentence_encoder import SentenceEncoder
from services.executor.service import EmbeddingServicer, ExecutorServicer
from services.executor.settings import EncoderSettings, ExecutorSettings
from services.executor.tensorrt_library import TensorRtMissing

EXECUTOR = executor_service_pb2.DESCRIPTOR.services_by_name["ExecutorService"].full_name
EMBEDDING = embedding_service_pb2.DESCRIPTOR.services_by_name["EmbeddingService"].full_name
_NICE = 10  # a tenth of the others' share of a core that all of them want


def assemble(settings: ExecutorSettings) -> Component:
    """The executor as a component; loads nothing before it is started.

    Raises:
        ConfigError: a key's environment variable is named but not set, or the report of precisions cannot be used.
    """
    report = load_precision_report(settings.precision_report) if settings.precision_report else None
    registry = make_registry(settings.models, settings.memory_bytes, report, settings.unload_wait_s)
    executor, embedding = ExecutorServicer(registry), EmbeddingServicer()
    executor.metrics.encoder_waiting.set_function(lambda: embedding.waiting)

    def register(server: grpc.aio.Server) -> None:
        executor_service_pb2_grpc.add_ExecutorServiceServicer_to_server(executor, server)
        if settings.encoder:
            embedding_service_pb2_grpc.add_EmbeddingServiceServicer_to_server(embedding, server)

    async def start() -> None:
        if settings.encoder:
            await open_encoder(embedding, settings.encoder)
        await registry.start()

    async def close() -> None:
        await embedding.close()
        await registry.close()

    services = (EXECUTOR, EMBEDDING) if settings.encoder else (EXECUTOR,)
    return Component("executor", services, register, start, close, executor.metrics.collectors, failed=registry.failed)


async def open_encoder(servicer: EmbeddingServicer, settings: EncoderSettings) -> None:
    """Loads the encoder, runs it once and lets the servicer serve it.

    Raises:
        ConfigError: the folder cannot be used.
    """
    try:
        encoder = await asyncio.to_thread(
            SentenceEncoder, settings.folder, settings.precision, settings.threads, settings.engines
        )
    except (TensorRtMissing, CudaUnavailable) as error:
        expected = "fp32 or int8, or a GPU with TensorRT"
        raise ConfigError(
            f"executor.encoder.precision: got {settings.precision}, expected {expected}: {error}"
        ) from error
    except (InvalidCheckpoint, OSError) as error:
        expected = "a sentence-transformers folder, such as `fulcrum models pull all-MiniLM-L6-v2` fetches"
        raise ConfigError(f"executor.encoder.folder: {error}; expected {expected}") from error
    batcher = EncoderBatcher(encoder, settings.waiting_limit, settings.run_tokens)
    await batcher.embed(["warm up"])
    servicer.open(batcher, encoder.digest)


def main() -> None:
    """Serves the executor until SIGTERM; where services share cores, its work gives way to their doors."""
    os.nice(_NICE)
    run_component("executor", ExecutorSettings, assemble)


if __name__ == "__main__":
    main()
