"""What a bound on keys and values is spent on: one conversation always, prefixes up to a quarter, then places."""

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.executor.kv_memory import (
    BLOCK_TOKENS,
    LEAST_CONTEXT,
    KvMemory,
    fitting_context,
    kv_capacity,
    kv_token_bytes,
)
from services.executor.models.checkpoint import open_checkpoint
from services.executor.models.decoder import DecoderShape, decoder_shape


@pytest.fixture(scope="module")
def shape() -> DecoderShape:
    """The strong reference model's, 512 tokens long."""
    found = decoder_shape(open_checkpoint(Path("models/fulcrum-large")), 512)
    return replace(found, attention=replace(found.attention, max_positions=512))


@pytest.mark.parametrize("conversations", [1, 2, 4, 10, 100])
def test_prefixes_leave_room_for_conversations(shape: DecoderShape, conversations: int) -> None:
    """However much is asked for prefixes, three quarters of the memory, and one conversation, are for places."""
    token = kv_token_bytes(shape, 4)
    most = conversations * 512 * token
    found = kv_capacity(shape, 4, 1000, most, kept_bytes=most)
    assert found.slots == max(1, conversations * 3 // 4)
    used = (found.slots * 512 + found.blocks * BLOCK_TOKENS) * token
    assert used <= most
    assert used > most - 512 * token, "nothing is left unused"


def test_what_does_not_hold_one_conversation(shape: DecoderShape) -> None:
    """It is said how much one takes."""
    one = 512 * kv_token_bytes(shape, 4)
    with pytest.raises(ValueError, match=f"512 tokens take {one} bytes"):
        kv_capacity(shape, 4, 16, one - 1, 0)


def test_prefixes_are_copied_within_the_bound(shape: DecoderShape) -> None:
    """A prefix of a whole slot comes back bit by bit, in whatever blocks it lay, without a second copy meanwhile."""
    memory = KvMemory(shape, 3, kept_bytes=512 * kv_token_bytes(shape, 4))
    rng = np.random.default_rng(2)
    memory.slots[:, 1] = rng.standard_normal(memory.slots[:, 1].shape)
    blocks = rng.permutation(memory.block_count).tolist()
    assert len(blocks) == 512 // BLOCK_TOKENS
    tracemalloc.start()
    memory.keep(1, 0, blocks[:7])
    memory.keep(1, 7, blocks[7:])
    memory.restore(blocks[:20], 2)
    memory.restore(blocks, 0)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.array_equal(memory.slots[:, 0], memory.slots[:, 1])
    assert np.array_equal(memory.slots[:, 2, :, : 20 * BLOCK_TOKENS], memory.slots[:, 1, :, : 20 * BLOCK_TOKENS])
    assert not memory.slots[:, 2, :, 20 * BLOCK_TOKENS :].any()
    assert most < memory.blocks.nbytes // 16


QWEN, LLAMA, MISTRAL = 24 * 2 * 64, 16 * 8 * 64, 32 * 8 * 128  # layers, heads and width of Qwen2.5-0.5B and so on


@pytest.mark.parametrize(
    ("numbers", "own", "item", "context", "places"),
    [
        (QWEN, 32_768, 4, 8_192, 4),
        (LLAMA, 131_072, 4, 3_072, 4),
        (LLAMA, 131_072, 2, 6_144, 4),
        (MISTRAL, 32_768, 4, LEAST_CONTEXT, 1),
        (QWEN, 2_048, 4, 2_048, 16),
        (QWEN, 512, 4, 512, 16),
    ],
)
def test_the_context_that_is_chosen(
    shape: DecoderShape, numbers: int, own: int, item: int, context: int, places: int
) -> None:
    """Of a model with a long one, what leaves room for four conversations, but not less than 2,048 tokens."""
    attention = replace(shape.attention, kv_heads=1, head_dim=numbers, max_positions=own)
    made = replace(shape, layers=1, attention=attention)
    most, kept = 1024 * 10**6, 128 * 10**6
    found = fitting_context(made, item, 16, most, kept)
    fitted = replace(made, attention=replace(attention, max_positions=found))
    assert (found, kv_capacity(fitted, item, 16, most, kept).slots) == (context, places)


@pytest.mark.parametrize("places", [1, 2, 4, 16])
def test_what_fits_is_not_shortened(shape: DecoderShape, places: int) -> None:
    """A context of which as many conversations fit as are asked for, or four, stays; a token more of it does not."""
    attention = replace(shape.attention, max_positions=5_000)
    made = replace(shape, attention=attention)
    several = min(places, 4)
    kept = 1000 * kv_token_bytes(shape, 4) * (places > 1)
    most = several * 5_000 * kv_token_bytes(shape, 4) + kept
    assert fitting_context(made, 4, places, most, kept) == 5_000
    assert kv_capacity(made, 4, places, most, kept).slots >= several
    longer = replace(made, attention=replace(attention, max_positions=5_001))
    assert fitting_context(longer, 4, places, most, kept) == 4_096
