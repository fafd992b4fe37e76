"""A loaded decoder: its graph, the KV memory of every slot, and passes over chunks of many conversations at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.executor.kv_memory import KvMemory
from services.executor.models.checkpoint import InvalidCheckpoint, open_checkpoint
from services.executor.models.decoder import decoder_shape
from services.executor.models.graph_cache import GraphCache
from services.executor.models.onnx_emitter import (
    ENDS,
    LAST_POSITIONS,
    LOGITS,
    NEW_LENGTHS,
    ORIGINS,
    PLACES,
    TOKENS,
    decoder_graph,
    memory_names,
)
from services.executor.models.onnx_linear import Linear
from services.executor.onnx_session import OnnxSession

ODD_NUMBERS = (1, 3, 5, 7)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens of one conversation that follow what its slot holds, of which the first comes to lie at `start`."""

    slot: int
    start: int
    tokens: Sequence[int]
    wants_logits: bool = True


class DecoderSession:
    """Blocks while it works; only one call may be under way.

    Args:
        folder: Hugging Face folder.
        linear: how linear layers are stored and multiplied.
        threads: threads within an operator.
        context_tokens: lowers the model's own limit of prompt and answer together, and with it the memory.
        slots: conversations that may lie in memory at once; fewer where that does not hold them.
        memory_bytes: most bytes of KV memory; no limit where None.
        kept_bytes: of these, for prefixes of past conversations.
        graphs: where graphs of this precision are kept; each is built anew where None.

    Raises:
        InvalidCheckpoint: the folder cannot be used, or memory does not hold one conversation.
    """

    def __init__(
        self,
        folder: Path,
        linear: Linear,
        threads: int,
        context_tokens: int | None = None,
        slots: int = 1,
        memory_bytes: int | None = None,
        kept_bytes: int = 0,
        graphs: GraphCache | None = None,
    ) -> None:
        checkpoint = open_checkpoint(folder)
        shape = decoder_shape(checkpoint, context_tokens)
        try:
            self.memory = KvMemory(shape, slots, memory_bytes, kept_bytes)
        except ValueError as error:
            expected = f"at most {memory_bytes}: lower context_tokens"
            raise InvalidCheckpoint(f"{folder}: {error}, expected {expected}") from None
        self.slots = self.memory.slots.shape[1]
        self.vocabulary = shape.vocabulary
        self.context_tokens = shape.attention.max_positions
        self.digest = checkpoint.digest()
        buffers = dict(zip(memory_names(shape.layers), self.memory.slots, strict=True))
        build = partial(decoder_graph, checkpoint, shape, linear)
        graph = graphs.get(self.digest, self.context_tokens, build) if graphs else build()
        self._session = OnnxSession(graph, LOGITS, threads, buffers)
        self._even = self._depends_on_evenness()

    def run(self, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        """One pass; logits `[n, vocabulary]` behind the last token of each of the n chunks that want them, in order.

        A slot appears once. What memory holds before a chunk's start must be its conversation's, and from `start` on
        there must be room for as many tokens as the longest chunk has, for the kernel's rows are equally wide.
        """
        sizes = np.array([len(chunk.tokens) for chunk in chunks])
        total, width, rows = int(sizes.sum()), int(sizes.max()), max(chunk.slot for chunk in chunks) + 1
        begins = np.cumsum(sizes) - sizes
        slots = np.array([chunk.slot for chunk in chunks])
        tokens = np.zeros(total + self._spare(total), np.int64)
        tokens[:total] = [token for chunk in chunks for token in chunk.tokens]
        new, last = np.zeros(rows, np.int32), np.zeros(rows, np.int32)
        new[slots], last[slots] = sizes, [chunk.start + len(chunk.tokens) - 1 for chunk in chunks]
        first = np.zeros(rows, np.int64)
        first[slots] = begins
        places = np.minimum(first[:, None] + np.arange(width), total - 1)
        origins = np.zeros(len(tokens), np.int64)
        origins[:total] = np.repeat(slots * width - begins, sizes) + np.arange(total)
        wanted = [int(end) - 1 for end, chunk in zip(begins + sizes, chunks, strict=True) if chunk.wants_logits]
        ends = np.array(wanted + wanted[-1:] * self._spare(len(wanted)), np.int64)
        feeds = {TOKENS: tokens, PLACES: places, ORIGINS: origins, NEW_LENGTHS: new, LAST_POSITIONS: last, ENDS: ends}
        return self._session.run(feeds, rows)[: len(wanted)]

    def close(self) -> None:
        """Nothing is held but this process's memory, which goes with the session."""

    def logits_after(self, tokens: Sequence[int], start: int) -> NDArray[np.float32]:
        """Logits `[vocabulary]` behind `tokens` in the first slot."""
        logits: NDArray[np.float32] = self.run([Chunk(0, start, tokens)])[0]
        return logits

    def _spare(self, rows: int) -> int:
        """How many rows to add to this many, so that each one's product has the same bits whatever their number."""
        return rows % 2 if self._even else 0

    def _depends_on_evenness(self) -> bool:
        """Whether this machine's kernels treat the last of an odd number of rows otherwise, as those may that take two
        at a time. All passes are then padded to even numbers, which makes a single conversation a quarter slower."""
        for size in ODD_NUMBERS:
            self._even = False
            odd = self.logits_after(range(size), 0)
            self._even = True
            if not np.array_equal(odd, self.logits_after(range(size), 0)):
                return True
        return False
