"""What a bound on keys and values is spent on: one conversation always, prefixes up to a quarter, then places."""

from dataclasses import replace
from pathlib import Path

import pytest

from services.executor.kv_memory import BLOCK_TOKENS, kv_capacity, kv_token_bytes
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
