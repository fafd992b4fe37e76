"""A decoder on an ONNX Runtime whose attention takes equally long rows alone, as those for GPUs do."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.cuda_driver import CudaDriver
from services.executor.decoder_session import Chunk
from services.executor.device_memory import DeviceMemory
from services.executor.kv_memory import KvMemory
from services.executor.models.checkpoint import InvalidCheckpoint, open_checkpoint
from services.executor.models.decoder import decoder_shape
from services.executor.models.onnx_emitter import (
    ENDS,
    LAST_POSITIONS,
    LOGITS,
    ORIGINS,
    PLACES,
    TOKENS,
    decoder_graph,
    memory_names,
)
from services.executor.models.onnx_linear import full_linear
from services.executor.onnx_session import CPU, CUDA, DeviceBuffer, Memory, OnnxSession


class EvenSession:
    """What `DecoderSession` does, a prompt at a time and single tokens together. Blocks while it works.

    Args:
        folder: Hugging Face folder.
        driver: of the GPU, where it runs in float16, and closed with the session; on the CPU, in float32, where None.
        threads: threads within an operator on the CPU.
        context_tokens: lowers the model's own limit of prompt and answer together, and with it the memory.
        slots: conversations that may lie in memory at once; fewer where that does not hold them.
        memory_bytes: most bytes of KV memory.
        kept_bytes: of these, for prefixes of past conversations.

    Raises:
        InvalidCheckpoint: the folder cannot be used, or memory does not hold one conversation.
    """

    def __init__(
        self,
        folder: Path,
        driver: CudaDriver | None,
        threads: int,
        context_tokens: int | None,
        slots: int,
        memory_bytes: int,
        kept_bytes: int,
    ) -> None:
        checkpoint = open_checkpoint(folder)
        shape = decoder_shape(checkpoint, context_tokens)
        kind = np.float16 if driver else np.float32
        attention = shape.attention
        row = (attention.kv_heads, attention.max_positions, attention.head_dim)
        names = memory_names(shape.layers)
        self.memory: KvMemory | DeviceMemory
        buffers: Memory
        try:
            if driver:
                self.memory = memory = DeviceMemory(driver, shape, 2, slots, memory_bytes, kept_bytes)
                memory.reserve()
                buffers = {name: DeviceBuffer(at, row, kind) for name, at in zip(names, memory.sides, strict=True)}
                self.slots = memory.slot_count
            else:
                self.memory = host = KvMemory(shape, slots, memory_bytes, kept_bytes)
                buffers = dict(zip(names, host.slots, strict=True))
                self.slots = host.slots.shape[1]
        except ValueError as error:
            expected = f"at most {memory_bytes}: lower context_tokens"
            raise InvalidCheckpoint(f"{folder}: {error}, expected {expected}") from None
        self.vocabulary = shape.vocabulary
        self.context_tokens = attention.max_positions
        self.digest = checkpoint.digest()
        self._driver = driver
        self._longest = 0  # tokens of any conversation so far
        graph = decoder_graph(checkpoint, shape, full_linear, ragged=False, kind=kind)
        self._session = OnnxSession(graph, LOGITS, threads, buffers, CUDA if driver else CPU)

    def run(self, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        """See `DecoderSession.run`."""
        if self._driver:
            self._driver.activate()
            self._driver.wait()  # for copies of prefixes, which are on another stream
        self._longest = max([self._longest, *(chunk.start + len(chunk.tokens) for chunk in chunks)])
        single = [chunk for chunk in chunks if len(chunk.tokens) == 1]
        found = dict(zip(map(id, single), self._together(single), strict=True)) if single else {}
        found |= {id(chunk): self._alone(chunk) for chunk in chunks if len(chunk.tokens) > 1}
        wanted = [found[id(chunk)] for chunk in chunks if chunk.wants_logits]
        return np.array(wanted, np.float32).reshape(len(wanted), self.vocabulary)

    def close(self) -> None:
        """Gives the device's memory back, if it has one; nothing runs after it."""
        del self._session
        if self._driver:
            self._driver.close()

    def _alone(self, chunk: Chunk) -> NDArray[np.float32]:
        """Logits `[vocabulary]` behind one chunk, on its own row of memory."""
        size = len(chunk.tokens)
        places = np.arange(size)
        last = np.array([chunk.start + size - 1], np.int32)
        feeds: dict[str, NDArray[Any]] = {TOKENS: np.array(chunk.tokens, np.int64), PLACES: places[None]}
        feeds |= {ORIGINS: places, LAST_POSITIONS: last, ENDS: places[-1:]}
        logits: NDArray[np.float32] = self._session.run(feeds, 1, chunk.slot)[0]
        return logits

    def _together(self, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        """Logits `[chunks, vocabulary]` behind single tokens.

        Rows between that are idle read their slots to where no conversation has come so far, and write there: nobody
        has seen it, restored prefixes end before it, and who comes to it writes it first.
        """
        slots = [chunk.slot for chunk in chunks]
        rows, idle = max(slots) + 1, min(self._longest, self.context_tokens - 1)
        places, last = np.zeros((rows, 1), np.int64), np.full(rows, idle, np.int32)
        places[slots, 0], last[slots] = np.arange(len(chunks)), [chunk.start for chunk in chunks]
        tokens = np.array([chunk.tokens[0] for chunk in chunks], np.int64)
        feeds: dict[str, NDArray[Any]] = {TOKENS: tokens, PLACES: places, LAST_POSITIONS: last}
        feeds |= {ORIGINS: np.array(slots, np.int64), ENDS: np.arange(len(chunks))}
        return self._session.run(feeds, rows)
