"""Keys and values: a slot for each conversation that runs, and blocks for the prefixes kept of past ones."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.executor.models.decoder import DecoderShape

BLOCK_TOKENS = 16
LEAST_CONTEXT = 2_048  # of a model that has as much
_KEPT_SHARE = 4  # so that little memory still serves several conversations
_SEVERAL = 4
_CONTEXT_STEP = 1_024


class KvCapacity(NamedTuple):
    """How many slots and blocks there are."""

    slots: int
    blocks: int


def kv_token_bytes(shape: DecoderShape, item_bytes: int) -> int:
    """Keys and values of one token in all layers."""
    return 2 * shape.layers * shape.attention.kv_heads * shape.attention.head_dim * item_bytes


def kv_capacity(
    shape: DecoderShape, item_bytes: int, slots: int, most_bytes: int | None, kept_bytes: int
) -> KvCapacity:
    """What fits: a slot, blocks of a quarter at most, more slots, more blocks in what is left; see `KvMemory`.

    Raises:
        ValueError: it does not hold one conversation.
    """
    token_bytes = kv_token_bytes(shape, item_bytes)
    slot_bytes = token_bytes * shape.attention.max_positions
    if most_bytes is not None:
        if most_bytes < slot_bytes:
            raise ValueError(f"{shape.attention.max_positions} tokens take {slot_bytes} bytes of KV memory")
        reserved = min(kept_bytes, most_bytes // _KEPT_SHARE, most_bytes - slot_bytes)
        slots = min(slots, (most_bytes - reserved) // slot_bytes)
        kept_bytes = min(kept_bytes, most_bytes - slots * slot_bytes)
    return KvCapacity(slots, kept_bytes // (token_bytes * BLOCK_TOKENS))


def fitting_context(shape: DecoderShape, item_bytes: int, slots: int, most_bytes: int, kept_bytes: int) -> int:
    """Tokens of a conversation where nobody set them: the model's own limit, or as many thousands as leave room for
    several at once, if so many are asked for; no fewer than `LEAST_CONTEXT`, of which memory may hold one, or none."""
    own, several = shape.attention.max_positions, min(slots, _SEVERAL)
    kept = min(kept_bytes, most_bytes // _KEPT_SHARE) if several > 1 else 0
    fitting = (most_bytes - kept) // (several * kv_token_bytes(shape, item_bytes))
    return own if own <= fitting else max(min(own, LEAST_CONTEXT), fitting // _CONTEXT_STEP * _CONTEXT_STEP)


class KvMemory:
    """Everything is reserved here, and nothing later; pages become resident as they are first written.

    Args:
        shape: of the decoder.
        slots: most conversations at once.
        most_bytes: for all of it; no limit where None.
        kept_bytes: of these, for prefixes.

    Raises:
        ValueError: it does not hold one conversation.
    """

    def __init__(self, shape: DecoderShape, slots: int, most_bytes: int | None = None, kept_bytes: int = 0) -> None:
        attention = shape.attention
        sides = 2 * shape.layers  # keys and values
        slots, blocks = kv_capacity(shape, 4, slots, most_bytes, kept_bytes)
        heads, size = attention.kv_heads, attention.head_dim
        self.slots = np.zeros((sides, slots, heads, attention.max_positions, size), np.float32)
        self.blocks = np.zeros((sides, blocks, heads, BLOCK_TOKENS, size), np.float32)

    @property
    def block_count(self) -> int:
        """How many blocks there are."""
        return self.blocks.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes of all of it."""
        return self.slots.nbytes + self.blocks.nbytes

    def keep(self, slot: int, first: int, blocks: Sequence[int]) -> None:
        """Copies what a slot holds, from its block number `first` on, into these blocks."""
        for place, block in enumerate(blocks, first):
            self.blocks[:, block] = self._stretch(slot, place)

    def restore(self, blocks: Sequence[int], slot: int) -> None:
        """Copies blocks to the beginning of a slot."""
        for place, block in enumerate(blocks):
            self._stretch(slot, place)[:] = self.blocks[:, block]

    def _stretch(self, slot: int, place: int) -> NDArray[np.float32]:
        """A slot's block, `[side, head, token, size]`; one at a time, as more at once would be copied twice."""
        return self.slots[:, slot, :, place * BLOCK_TOKENS : (place + 1) * BLOCK_TOKENS]
