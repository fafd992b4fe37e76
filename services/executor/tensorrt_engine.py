"""A decoder on TensorRT: the same slots, passes and prefix reuse as `DecoderSession`, with memory on the GPU."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.cuda_driver import CudaDriver
from kernels.tensorrt_plugins import kernels_version
from services.executor.decoder_session import Chunk
from services.executor.device_memory import DeviceMemory
from services.executor.models.checkpoint import InvalidCheckpoint, open_checkpoint
from services.executor.models.decoder import decoder_shape
from services.executor.models.graph_cache import code_version
from services.executor.models.tensorrt_attention import KEY_POSITIONS, NEW_LENGTHS, STARTS, TABLE, memory_names
from services.executor.models.tensorrt_emitter import LOGITS, TOKENS, emit_decoder_network
from services.executor.models.tensorrt_linear import Precision
from services.executor.tensorrt_builder import EngineKey, Range, open_engine
from services.executor.tensorrt_library import TensorRt

ITEM_BYTES = {"bf16": 2, "fp16": 2, "fp32": 4}
LONGEST_CHUNK = 1024
ONE, MANY = 0, 1  # profiles: a token of each of many rows, many tokens of one


class TensorRtSession:
    """Blocks while it works; only one call may be under way.

    Args:
        library: TensorRT.
        driver: of the device, which is closed with the session.
        folder: Hugging Face folder.
        precision: how linear layers are stored and multiplied.
        activation: "bf16", "fp16" or "fp32", the type of activations and memory.
        engines: folder of built engines.
        context_tokens: lowers the model's own limit of prompt and answer together, and with it the memory.
        slots: conversations that may lie in memory at once; fewer where that does not hold them.
        memory_bytes: most bytes of KV memory.
        kept_bytes: of these, for prefixes of past conversations.

    Raises:
        InvalidCheckpoint: the folder cannot be used, TensorRT refuses it, or memory does not hold one conversation.
    """

    def __init__(
        self,
        library: TensorRt,
        driver: CudaDriver,
        folder: Path,
        precision: Precision,
        activation: str,
        engines: Path,
        context_tokens: int | None,
        slots: int,
        memory_bytes: int,
        kept_bytes: int,
    ) -> None:
        checkpoint = open_checkpoint(folder)
        shape = decoder_shape(checkpoint, context_tokens)
        try:
            self.memory = DeviceMemory(driver, shape, ITEM_BYTES[activation], slots, memory_bytes, kept_bytes)
        except ValueError as error:
            expected = f"at most {memory_bytes}: lower context_tokens"
            raise InvalidCheckpoint(f"{folder}: {error}, expected {expected}") from None
        self.slots = self.memory.slot_count
        self.context_tokens = shape.attention.max_positions
        self.digest = checkpoint.digest()
        self._driver = driver
        self.vocabulary = shape.vocabulary
        options = {
            "precision": [precision.kind, dict(precision.largest_inputs)],
            "activation": activation,
            "slots": self.slots,
            "context": self.context_tokens,
        }
        key = EngineKey(self.digest, driver.name, driver.architecture, options, [code_version(), kernels_version()])

        def emit(graph: Any) -> None:
            emit_decoder_network(graph, checkpoint, shape, precision, self.slots)

        self._engine = open_engine(library, key, engines, activation, emit, self._profiles())
        self.memory.reserve()  # last, so that what is built has the device to itself
        self._contexts = [self._context(profile, shape.layers) for profile in (ONE, MANY)]

    def run(self, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        """See `DecoderSession.run`: single tokens of all rows in one pass, longer chunks each in its own."""
        self._driver.activate()
        single = [chunk for chunk in chunks if len(chunk.tokens) == 1]
        found = dict(zip(map(id, single), self._pass(ONE, single), strict=True)) if single else {}
        for chunk in chunks:
            if len(chunk.tokens) > 1:
                found[id(chunk)] = self._read(chunk)
        wanted = [found[id(chunk)] for chunk in chunks if chunk.wants_logits]
        return np.array(wanted, np.float32).reshape(len(wanted), self.vocabulary)

    def close(self) -> None:
        """Gives the device's memory back; nothing runs after it."""
        self._contexts.clear()
        self._engine = None
        self._driver.close()

    def _read(self, chunk: Chunk) -> NDArray[np.float32]:
        """Logits behind a chunk of any length."""
        logits = np.empty((1, self.vocabulary), np.float32)
        for at in range(0, len(chunk.tokens), LONGEST_CHUNK):
            piece = Chunk(chunk.slot, chunk.start + at, chunk.tokens[at : at + LONGEST_CHUNK])
            logits = self._pass(MANY if len(piece.tokens) > 1 else ONE, [piece])
        last: NDArray[np.float32] = logits[0]
        return last

    def _pass(self, profile: int, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        """One pass over equally long chunks: logits `[chunks, vocabulary]`."""
        context, buffers = self._contexts[profile]
        width = len(chunks[0].tokens)
        span = 1 if profile == ONE else chunks[0].start + width
        feeds = {
            TOKENS: np.array([chunk.tokens for chunk in chunks], np.int32),
            STARTS: np.array([chunk.start for chunk in chunks], np.int32),
            NEW_LENGTHS: np.full(len(chunks), width, np.int32),
            TABLE: np.array([[chunk.slot] for chunk in chunks], np.int32),
            KEY_POSITIONS: np.arange(span, dtype=np.int32),
        }
        for name, value in feeds.items():
            self._driver.upload(buffers[name], value)
            context.set_input_shape(name, value.shape)
        if not context.execute_async_v3(self._driver.stream):
            raise RuntimeError("TensorRT refuses a pass: its log says why")
        logits = np.empty((len(chunks), self.vocabulary), np.float32)
        self._driver.download(buffers[LOGITS], logits)
        return logits

    def _profiles(self) -> list[Mapping[str, Range]]:
        """Least, likeliest and largest shapes of both profiles."""
        rows, context, longest = self.slots, self.context_tokens, min(LONGEST_CHUNK, self.context_tokens)
        few, usual = max(1, rows // 2), min(256, longest)

        def by_row(least: int, likeliest: int, largest: int) -> dict[str, Range]:
            sizes = (least, likeliest, largest)
            found: dict[str, Range] = {name: tuple((size,) for size in sizes) for name in (STARTS, NEW_LENGTHS)}  # type: ignore[misc]
            found[TABLE] = ((least, 1), (likeliest, 1), (largest, 1))
            return found

        one = {TOKENS: ((1, 1), (few, 1), (rows, 1)), KEY_POSITIONS: ((1,), (1,), (1,)), **by_row(1, few, rows)}
        spans = ((2,), (min(context, 2 * usual),), (context,))
        many = {TOKENS: ((1, 2), (1, usual), (1, longest)), KEY_POSITIONS: spans, **by_row(1, 1, 1)}
        return [one, many]

    def _context(self, profile: int, layers: int) -> tuple[Any, dict[str, int]]:
        """An execution context of one profile with its buffers, which are as large as the profile allows."""
        context = self._engine.create_execution_context()
        context.set_optimization_profile_async(profile, self._driver.stream)
        rows = self.slots if profile == ONE else 1
        sizes = {
            name: int(np.prod(self._engine.get_tensor_profile_shape(name, profile)[2])) * 4
            for name in (TOKENS, STARTS, NEW_LENGTHS, TABLE, KEY_POSITIONS)
        }
        sizes[LOGITS] = rows * self.vocabulary * 4
        buffers = {name: self._driver.allocate(size) for name, size in sizes.items()}
        for (name, out), address in zip(memory_names(layers), self.memory.sides, strict=True):
            context.set_tensor_address(name, address)
            context.set_tensor_address(out, address)
        for name, address in buffers.items():
            context.set_tensor_address(name, address)
        return context, buffers
