"""Passes over many conversations: what a row gets does not depend on who else is in the pass, to the last bit."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from services.executor.decoder_session import Chunk, DecoderSession
from services.executor.models.checkpoint import InvalidCheckpoint, open_checkpoint
from services.executor.models.decoder import decoder_shape, emit_decoder
from services.executor.models.numpy_emitter import NumpyEmitter, empty_memory
from services.executor.models.onnx_linear import DECODER_LINEARS, full_linear
from tests.unit.executor.folders import VOCABULARY, llama_folder

WIDER = {"hidden_size": 128, "intermediate_size": 352, "num_attention_heads": 8, "max_position_embeddings": 200}
PROMPTS = (5, 64, 33, 130, 1, 2, 100, 17)
GENERATED = 5


def conversations() -> list[list[int]]:
    rng = np.random.default_rng(4)
    return [rng.integers(0, VOCABULARY, size + GENERATED).tolist() for size in PROMPTS]


def alone(session: DecoderSession, tokens: Sequence[int], prompt: int) -> NDArray[np.float32]:
    """Logits behind the prompt, read at once, and behind each token that follows."""
    rows = [session.logits_after(tokens[:prompt], 0)]
    rows += [session.logits_after(tokens[at : at + 1], at) for at in range(prompt, len(tokens))]
    return np.array(rows)


def test_ragged_rows_get_what_each_gets_alone(tmp_path: Path) -> None:
    """Reading, decoding and idle rows in one pass give the reference's logits; an idle row keeps its memory."""
    folder = llama_folder(tmp_path)
    session = DecoderSession(folder, full_linear, 1, slots=3)
    rows = [np.random.default_rng(4).integers(0, VOCABULARY, size).tolist() for size in (9, 5, 12)]
    unread = session.run(
        [Chunk(0, 0, rows[0][:8], False), Chunk(1, 0, rows[1][:4], False), Chunk(2, 0, rows[2][:5], False)]
    )
    assert len(unread) == 0
    first, third = session.run([Chunk(0, 8, rows[0][8:]), Chunk(2, 5, rows[2][5:])])
    (second,) = session.run([Chunk(1, 4, rows[1][4:])])
    checkpoint = open_checkpoint(folder)
    shape = decoder_shape(checkpoint)
    for row, logits in zip(rows, (first, second, third), strict=True):
        memory = empty_memory(shape.layers, 1, shape.attention)
        expected = emit_decoder(NumpyEmitter(checkpoint, np.array([row]), memory), shape)[0]
        np.testing.assert_allclose(logits, expected, atol=2e-5)


@pytest.mark.parametrize("precision", DECODER_LINEARS)
@pytest.mark.parametrize("threads", [1, 2])
def test_logits_do_not_depend_on_company(tmp_path: Path, precision: str, threads: int) -> None:
    """Whoever else is in a pass, and however a prompt is cut (not into single tokens), all bits are the same."""
    folder = llama_folder(tmp_path, **WIDER)
    single = DecoderSession(folder, DECODER_LINEARS[precision], 1)
    together = DecoderSession(folder, DECODER_LINEARS[precision], threads, slots=len(PROMPTS))
    tokens, done, rng = conversations(), [0] * len(PROMPTS), np.random.default_rng(5)
    found: list[list[NDArray[np.float32]]] = [[] for _ in PROMPTS]
    while any(at < len(row) for at, row in zip(done, tokens, strict=True)):
        chunks = []
        for slot, prompt in enumerate(PROMPTS):
            left = prompt - done[slot]
            size = 1 if left <= 1 else min(left, int(rng.integers(2, 60)))
            size += left - size == 1
            if done[slot] < len(tokens[slot]) and rng.random() < 0.7:
                chunks.append(Chunk(slot, done[slot], tokens[slot][done[slot] : done[slot] + size], size >= left))
        if chunks:
            logits = iter(together.run(chunks))
            for chunk in chunks:
                done[chunk.slot] += len(chunk.tokens)
                if chunk.wants_logits:
                    found[chunk.slot].append(next(logits))
    for row, prompt, rows in zip(tokens, PROMPTS, found, strict=True):
        np.testing.assert_array_equal(np.array(rows), alone(single, row, prompt))


def test_memory_stays_within_its_bound(tmp_path: Path) -> None:
    """Slots and kept blocks together take no more than they may, at least one slot comes first, and none later."""
    folder = llama_folder(tmp_path)
    slot_bytes, block_bytes = 2 * 2 * 4 * 2 * 64 * 16, 2 * 2 * 4 * 2 * 16 * 16
    for bound, kept, slots, blocks in (
        (4 * slot_bytes - 1, 0, 3, 0),
        (4 * slot_bytes, 2 * block_bytes + 5, 3, 2),
        (2 * slot_bytes - 1, 9 * slot_bytes, 1, 3),
        (99 * slot_bytes, slot_bytes, 9, 4),
    ):
        memory = DecoderSession(folder, full_linear, 1, slots=9, memory_bytes=bound, kept_bytes=kept).memory
        assert (memory.slots.shape[1], memory.blocks.shape[1]) == (slots, blocks)
        assert memory.nbytes == slots * slot_bytes + blocks * block_bytes <= bound
    with pytest.raises(InvalidCheckpoint, match=f"64 tokens take {slot_bytes} bytes"):
        DecoderSession(folder, full_linear, 1, slots=9, memory_bytes=slot_bytes - 1)
