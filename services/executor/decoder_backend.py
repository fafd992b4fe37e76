"""Chooses what a decoder runs on: TensorRT, ONNX Runtime on a GPU, or ONNX Runtime on the CPU, and says why."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from kernels.cuda_driver import open_device
from services.executor.calibration import largest_inputs
from services.executor.decoder_session import Chunk, DecoderSession
from services.executor.even_session import EvenSession
from services.executor.kept_prefixes import Blocks
from services.executor.memory_budget import MB, context_of
from services.executor.models.checkpoint import InvalidCheckpoint, open_checkpoint
from services.executor.models.decoder import decoder_shape
from services.executor.models.graph_cache import GraphCache
from services.executor.models.onnx_linear import DECODER_LINEARS
from services.executor.models.tensorrt_linear import Kind, Precision
from services.executor.onnx_session import check_cuda
from services.executor.settings import LocalModel
from services.executor.tensorrt_engine import TensorRtSession
from services.executor.tensorrt_library import load_tensorrt


class Decoder(Protocol):
    """A loaded decoder: see `DecoderSession`."""

    @property
    def slots(self) -> int:
        """Conversations that may lie in memory at once."""

    @property
    def context_tokens(self) -> int:
        """Most tokens of prompt and answer together."""

    @property
    def vocabulary(self) -> int:
        """Tokens that logits are of."""

    @property
    def digest(self) -> str:
        """Of the checkpoint."""

    @property
    def memory(self) -> Blocks:
        """Where slots and kept blocks lie."""

    def run(self, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        """One pass; logits of the chunks that want them, in order."""

    def close(self) -> None:
        """Gives back what it holds beside this process's memory."""


class Opened(NamedTuple):
    """A decoder, the precision that it runs in, and what it runs on."""

    decoder: Decoder
    precision: str
    backend: str


def open_decoder(name: str, model: LocalModel) -> Opened:
    """The decoder on the backend that the settings name, or with `auto` on the first that can be had.

    Raises:
        InvalidCheckpoint: the folder cannot be used, or the first passes give no finite numbers.
        OSError: the backend that the settings name cannot be had.
    """
    log, reasons = structlog.get_logger("models"), []
    *faster, last = BACKENDS if model.backend == "auto" else (model.backend,)
    for backend in faster:
        try:
            opened = _open(backend, model)
        except Exception as error:  # noqa: BLE001 - whatever a GPU's libraries raise, the CPU still serves
            reasons.append(f"{backend}: {error}")
        else:
            log.info("decoder backend", model=name, backend=backend, not_chosen=reasons)
            return opened
    opened = _open(last, model)
    log.info("decoder backend", model=name, backend=last, not_chosen=reasons)
    return opened


def _open(backend: str, model: LocalModel) -> Opened:
    """A decoder that has made a pass of two tokens in every place, and one of a single token."""
    opened = BACKENDS[backend](model)
    try:
        session = opened.decoder
        logits = session.run([Chunk(slot, 0, [0, 0]) for slot in range(session.slots)])
        if not (np.isfinite(logits).all() and np.isfinite(session.run([Chunk(0, 2, [0])])).all()):
            raise InvalidCheckpoint(f"{model.folder}: the first logits are not finite numbers")
    except BaseException:
        opened.decoder.close()
        raise
    return opened


def _tensorrt(model: LocalModel) -> Opened:
    library = load_tensorrt()
    wanted = model.gpu_precision
    kind: Kind = "full" if wanted == "bf16" or wanted == "fp16" else wanted
    scales = largest_inputs(model.folder, model.calibration) if kind in ("int8", "fp8") else {}
    activation = "fp16" if wanted == "fp16" else "bf16"
    sizes = (_context(model, 2), model.places, model.kv_memory_mb * MB, model.prefix_memory_mb * MB)
    precision = Precision(kind, scales)
    with open_device() as driver:
        session = TensorRtSession(library, driver, model.folder, precision, activation, model.engines, *sizes)
    return Opened(session, wanted, "tensorrt")


def _cuda(model: LocalModel) -> Opened:
    check_cuda()
    if model.gpu_precision not in ("bf16", "fp16"):
        raise OSError(f"gpu_precision is {model.gpu_precision}, expected bf16 or fp16: ONNX Runtime runs float16")
    sizes = (_context(model, 2), model.places, model.kv_memory_mb * MB, model.prefix_memory_mb * MB)
    with open_device() as driver:
        return Opened(EvenSession(model.folder, driver, model.threads, *sizes), "fp16", "cuda")


def _cpu(model: LocalModel) -> Opened:
    session = DecoderSession(
        model.folder,
        DECODER_LINEARS[model.precision],
        model.threads,
        _context(model, 4),
        model.places,
        model.kv_memory_mb * MB,
        model.prefix_memory_mb * MB,
        GraphCache(model.graph_cache, model.precision) if model.graph_cache else None,
    )
    return Opened(session, model.precision, "cpu")


def _context(model: LocalModel, item_bytes: int) -> int:
    """Most tokens of a conversation; says so where they are fewer than the model's own and nobody asked for that."""
    checkpoint = open_checkpoint(model.folder)
    chosen, own = context_of(model, checkpoint, item_bytes), decoder_shape(checkpoint).attention.max_positions
    if chosen < own and not model.context_tokens:
        structlog.get_logger("models").warning(
            "a shorter context than the model's own, to fit kv_memory_mb",
            folder=str(model.folder),
            context_tokens=chosen,
            own=own,
            remedy="set context_tokens, and more kv_memory_mb for as many places",
        )
    return chosen


BACKENDS: Mapping[str, Callable[[LocalModel], Opened]] = {"tensorrt": _tensorrt, "cuda": _cuda, "cpu": _cpu}
