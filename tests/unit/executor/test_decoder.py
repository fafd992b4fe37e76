"""One decoder definition gives the same logits on every backend, however the tokens are cut into passes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from services.executor.decoder_session import DecoderSession
from services.executor.models.checkpoint import open_checkpoint
from services.executor.models.decoder import decoder_shape, emit_decoder
from services.executor.models.numpy_emitter import NumpyEmitter, empty_memory
from services.executor.models.onnx_linear import block_int8_linear, full_linear, quantise_blocks, row_int8_linear
from tests.unit.executor.families import FAMILIES
from tests.unit.executor.folders import VOCABULARY, llama_folder


def reference(folder: Path, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
    """Logits of the NumPy backend behind whole rows."""
    checkpoint = open_checkpoint(folder)
    shape = decoder_shape(checkpoint)
    memory = empty_memory(shape.layers, len(tokens), shape.attention)
    logits: NDArray[np.float32] = emit_decoder(NumpyEmitter(checkpoint, tokens, memory), shape)
    return logits


@pytest.fixture
def tokens() -> NDArray[np.int64]:
    return np.random.default_rng(3).integers(0, VOCABULARY, (1, 23))


@pytest.mark.parametrize("name", FAMILIES)
def test_onnx_equals_numpy(tmp_path: Path, tokens: NDArray[np.int64], name: str) -> None:
    """fp32 logits of ONNX Runtime are those of the reference, at once and in chunks, in every family."""
    folder = llama_folder(tmp_path, **FAMILIES[name])
    expected, row = reference(folder, tokens)[0], tokens[0].tolist()
    session = DecoderSession(folder, full_linear, 1)
    np.testing.assert_allclose(session.logits_after(row, 0), expected, atol=1e-4)
    for start, end in ((0, 5), (5, 6), (6, 23)):
        chunked = session.logits_after(row[start:end], start)
    np.testing.assert_allclose(chunked, expected, atol=1e-4)


def test_numpy_decode_equals_prefill(tmp_path: Path, tokens: NDArray[np.int64]) -> None:
    """The reference gives the same logits token by token as in one pass."""
    folder = llama_folder(tmp_path)
    checkpoint = open_checkpoint(folder)
    shape = decoder_shape(checkpoint)
    memory = empty_memory(shape.layers, 1, shape.attention)
    for position in range(tokens.shape[1]):
        logits = emit_decoder(NumpyEmitter(checkpoint, tokens[:, position : position + 1], memory), shape)
        memory.lengths += 1
    np.testing.assert_allclose(logits, reference(folder, tokens), atol=2e-5)


@pytest.mark.parametrize("linear", [full_linear, block_int8_linear])
@pytest.mark.parametrize("cuts", [[1] * 23, [22, 1], [5, 1, 17], [16, 7]])
def test_passes_may_be_cut_anywhere(tmp_path: Path, tokens: NDArray[np.int64], linear: Any, cuts: list[int]) -> None:
    """Memory makes any cutting into chunks and single tokens equal to one prefill, also after another conversation."""
    session = DecoderSession(llama_folder(tmp_path), linear, 1)
    whole = session.logits_after(tokens[0].tolist(), 0)
    session.logits_after(list(range(40)), 0)
    start = 0
    for size in cuts:
        logits = session.logits_after(tokens[0, start : start + size].tolist(), start)
        start += size
    np.testing.assert_allclose(logits, whole, atol=2e-5)


def test_int8_blocks_stay_close(tmp_path: Path, tokens: NDArray[np.int64]) -> None:
    """Block int8 moves the logits by a few per cent of their spread."""
    folder = llama_folder(tmp_path)
    exact = reference(folder, tokens)[0]
    found = DecoderSession(folder, block_int8_linear, 1).logits_after(tokens[0].tolist(), 0)
    assert np.abs(found - exact).mean() < 0.05 * exact.std()


def test_blocks_hold_half_a_step() -> None:
    """A weight is at most half a step of its block away from what is stored, a width off the block size included."""
    weight = np.random.default_rng(5).standard_normal((7, 45)).astype(np.float32)
    weight[0] = 0
    packed, scales = quantise_blocks(weight)
    assert packed.shape == (7, 2, 32)
    restored = ((packed.astype(np.float32) - 128) * scales[..., None]).reshape(7, -1)[:, :45]
    assert (np.abs(restored - weight) <= np.repeat(scales, 32, axis=1)[:, :45] * 0.501).all()


def test_row_int8_serves_a_decoder_too(tmp_path: Path, tokens: NDArray[np.int64]) -> None:
    """Linear layers are interchangeable: the encoder's int8 gives a decoder close logits."""
    folder = llama_folder(tmp_path)
    exact = reference(folder, tokens)[0]
    found = DecoderSession(folder, row_int8_linear, 1).logits_after(tokens[0].tolist(), 0)
    assert np.abs(found - exact).mean() < 0.1 * exact.std()


def test_context_can_be_lowered(tmp_path: Path) -> None:
    """The operator's limit counts where it is lower than the model's."""
    checkpoint = open_checkpoint(llama_folder(tmp_path))
    assert decoder_shape(checkpoint, 20).attention.max_positions == 20
    assert decoder_shape(checkpoint, 2000).attention.max_positions == 64
