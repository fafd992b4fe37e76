"""One decoder definition gives the same logits on every backend, however the tokens are cut into passes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from services.executor.decoder_session import DecoderSession
from services.executor.models import onnx_linear
from services.executor.models.checkpoint import open_checkpoint
from services.executor.models.decoder import decoder_shape, emit_decoder
from services.executor.models.numpy_emitter import NumpyEmitter, empty_memory
from services.executor.models.onnx_linear import DECODER_LINEARS, Array, full_linear, quantise_blocks, quantise_nibbles
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


@pytest.mark.parametrize("linear", DECODER_LINEARS.values(), ids=DECODER_LINEARS)
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


@pytest.mark.parametrize("quantise", [quantise_blocks, quantise_nibbles])
def test_weights_in_parts(monkeypatch: pytest.MonkeyPatch, quantise: Callable[[Array], tuple[Any, Any]]) -> None:
    """How many outputs are quantised at once changes nothing in what is stored."""
    weight = np.random.default_rng(5).standard_normal((7, 45)).astype(np.float32)
    together = quantise(weight)
    monkeypatch.setattr(onnx_linear, "ROWS_AT_ONCE", 3)
    for whole, part in zip(together, quantise(weight), strict=True):
        np.testing.assert_array_equal(part, whole)


@pytest.mark.parametrize(("precision", "share"), [("int8", 0.05), ("w8a8", 0.1), ("int4", 0.35)])
def test_precisions_stay_close(tmp_path: Path, tokens: NDArray[np.int64], precision: str, share: float) -> None:
    """A precision moves the logits by no more than its share of their spread, and does move them."""
    folder = llama_folder(tmp_path, hidden_size=128, tie_word_embeddings=False)
    exact = reference(folder, tokens)[0]
    found = DecoderSession(folder, DECODER_LINEARS[precision], 1).logits_after(tokens[0].tolist(), 0)
    assert 1e-4 < np.abs(found - exact).mean() / exact.std() < share


def test_blocks_hold_half_a_step() -> None:
    """A weight is at most half a step of its block away from what is stored, a width off the block size included."""
    weight = np.random.default_rng(5).standard_normal((7, 45)).astype(np.float32)
    weight[0] = 0
    packed, scales = quantise_blocks(weight)
    assert packed.shape == (7, 2, 32)
    assert [quantise_blocks(np.zeros((1, width), np.float32))[0].shape[2] for width in (896, 96, 45)] == [64, 32, 32]
    restored = ((packed.astype(np.float32) - 128) * scales[..., None]).reshape(7, -1)[:, :45]
    assert (np.abs(restored - weight) <= np.repeat(scales, 32, axis=1)[:, :45] * 0.501).all()


def test_nibbles_hold_half_a_step() -> None:
    """4-bit weights are half a step away, the largest of a block none, its opposite a whole one."""
    weight = np.random.default_rng(5).standard_normal((7, 45)).astype(np.float32)
    weight[0] = 0
    packed, scales = quantise_nibbles(weight)
    assert packed.shape == (7, 2, 16)
    nibbles = np.stack([packed & 15, packed >> 4], axis=-1).reshape(7, 2, 32).astype(np.float32)
    restored = ((nibbles - 8) * scales[..., None]).reshape(7, -1)[:, :45]
    steps = np.repeat(np.abs(scales), 32, axis=1)[:, :45]
    assert (np.abs(restored - weight) <= steps * 1.001).all()
    assert (np.abs(restored - weight) <= steps * 0.501).mean() > 0.9
    largest = np.abs(weight[:, :32]).argmax(axis=1)
    np.testing.assert_allclose(restored[np.arange(7), largest], weight[np.arange(7), largest], rtol=1e-6)


def test_context_can_be_lowered(tmp_path: Path) -> None:
    """The operator's limit counts where it is lower than the model's."""
    checkpoint = open_checkpoint(llama_folder(tmp_path))
    assert decoder_shape(checkpoint, 20).attention.max_positions == 20
    assert decoder_shape(checkpoint, 2000).attention.max_positions == 64
