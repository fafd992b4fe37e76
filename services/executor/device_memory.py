"""Keys and values on the GPU: a slot for each conversation that runs, and blocks for the prefixes kept of past ones."""

from collections.abc import Sequence

from kernels.cuda_driver import CudaDriver
from services.executor.kv_memory import BLOCK_TOKENS, kv_capacity
from services.executor.models.decoder import DecoderShape


class DeviceMemory:
    """What `KvMemory` is on the host: how much there will be is known at once, all of it is taken by `reserve`.

    Args:
        driver: of the device.
        shape: of the decoder.
        item_bytes: size of a stored number.
        slots: most conversations at once.
        most_bytes: for all of it.
        kept_bytes: of these, for prefixes.

    Raises:
        ValueError: it does not hold one conversation.
    """

    def __init__(
        self, driver: CudaDriver, shape: DecoderShape, item_bytes: int, slots: int, most_bytes: int, kept_bytes: int
    ) -> None:
        attention = shape.attention
        self._driver = driver
        self._heads = attention.kv_heads
        self._token = attention.head_dim * item_bytes
        self._row = attention.max_positions * self._token
        self.slot_count, self.block_count = kv_capacity(shape, item_bytes, slots, most_bytes, kept_bytes)
        self._stretch = BLOCK_TOKENS * self._token
        self._buffers = 2 * shape.layers
        self.sides: list[int] = []
        self._blocks: list[int] = []

    def reserve(self) -> None:
        """Takes the memory, which is the driver's to give back: `sides`, then blocks."""
        row, stretch = self._heads * self._row, self._heads * self._stretch
        self.sides = [self._driver.allocate(self.slot_count * row) for _ in range(self._buffers)]
        self._blocks = [self._driver.allocate(max(1, self.block_count) * stretch) for _ in range(self._buffers)]

    def keep(self, slot: int, first: int, blocks: Sequence[int]) -> None:
        """Copies what a slot holds, from its block number `first` on, into these blocks."""
        for place, block in enumerate(blocks, first):
            for side, kept in zip(self.sides, self._blocks, strict=True):
                held, target = self._at(side, slot, place), kept + block * self._heads * self._stretch
                self._driver.copy_rows(held, self._row, target, self._stretch, self._stretch, self._heads)

    def restore(self, blocks: Sequence[int], slot: int) -> None:
        """Copies blocks to the beginning of a slot."""
        for place, block in enumerate(blocks):
            for side, kept in zip(self.sides, self._blocks, strict=True):
                target, source = self._at(side, slot, place), kept + block * self._heads * self._stretch
                self._driver.copy_rows(source, self._stretch, target, self._row, self._stretch, self._heads)

    def _at(self, side: int, slot: int, place: int) -> int:
        """Where a slot's block begins, of its first head."""
        return side + slot * self._heads * self._row + place * self._stretch
