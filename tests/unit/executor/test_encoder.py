"""One encoder definition gives the same vectors on every backend, and a text's vector never depends on its company."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.chassis.settings import ConfigError
from services.executor.__main__ import open_encoder
from services.executor.models.checkpoint import InvalidCheckpoint, open_checkpoint
from services.executor.models.encoder import emit_encoder, encoder_shape
from services.executor.models.numpy_emitter import NumpyEmitter
from services.executor.sentence_encoder import SentenceEncoder, Tokens
from services.executor.service import EmbeddingServicer
from services.executor.settings import EncoderSettings
from tests.unit.executor.folders import bert_folder

MINILM = Path(".models/all-MiniLM-L6-v2")
TEXTS = ["one", "a cat sat", "the cat sat", "interest rates rose again today", "x " * 60, "naïve 漢字 text", "y " * 60]


@pytest.fixture(scope="module", params=["fp32", "int8"])
def minilm(request: pytest.FixtureRequest) -> SentenceEncoder:
    if not MINILM.exists():
        pytest.skip(f"{MINILM} is absent: fulcrum models pull all-MiniLM-L6-v2")
    return SentenceEncoder(MINILM, request.param, threads=2)


@pytest.mark.parametrize("pooling", ["mean_tokens", "cls_token"])
@pytest.mark.parametrize("family", [{}, {"model_type": "xlm-roberta", "type_vocab_size": 1}])
def test_onnx_equals_numpy(tmp_path: Path, pooling: str, family: dict[str, Any]) -> None:
    """fp32 vectors of ONNX Runtime are the reference's, for both poolings and both ways of counting positions."""
    folder = bert_folder(tmp_path, pooling, **family)
    checkpoint = open_checkpoint(folder)
    rows = np.random.default_rng(0).integers(0, 256, (3, 17))
    exact = emit_encoder(NumpyEmitter(checkpoint, rows), encoder_shape(checkpoint))
    found = SentenceEncoder(folder, "fp32", 1).encode([Tokens(tuple(row), 17) for row in rows.tolist()])
    np.testing.assert_allclose(found, exact, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_company_changes_no_bit(minilm: SentenceEncoder) -> None:
    """Real weights, fp32 and int8: a row is bitwise the same alone and in any batch, at any place in it."""
    rng = np.random.default_rng(0)
    for length in (3, 8, 17, 40):
        rows = [Tokens(tuple(rng.integers(1000, 20_000, length).tolist()), length) for _ in range(4)]
        alone = np.concatenate([minilm.encode([row]) for row in rows])
        for order in ([0, 1], [3, 2, 1, 0], [2, 2, 2, 3, 1, 0, 0]):
            together = minilm.encode([rows[index] for index in order])
            assert together.tobytes() == alone[order].tobytes()


def test_int8_keeps_directions(minilm: SentenceEncoder) -> None:
    """int8 vectors point nearly where fp32's do, on real weights."""
    exact = SentenceEncoder(MINILM, "fp32", 1)
    for text in TEXTS:
        assert (minilm.encode([minilm.tokenise(text)]) @ exact.encode([exact.tokenise(text)]).T).item() > 0.985


def test_window(minilm: SentenceEncoder) -> None:
    """Tokens beyond the window are counted but not embedded; the special tokens stay at both ends."""
    short, long = minilm.tokenise("word"), minilm.tokenise("word " * 2000)
    assert (len(short.ids), short.count) == (3, 3)
    assert (len(long.ids), long.count) == (minilm.max_tokens, 2002) == (256, 2002)
    assert (long.ids[0], long.ids[-1]) == (short.ids[0], short.ids[-1])


def test_digest_follows_what_moves_vectors(tmp_path: Path) -> None:
    """Equal encoders have equal digests; precision, pooling, window, tokenizer and weights each change it."""
    first = SentenceEncoder(bert_folder(tmp_path / "a"), "fp32", 1)
    assert first.digest == SentenceEncoder(bert_folder(tmp_path / "b"), "fp32", 2).digest
    assert len(bytes.fromhex(first.digest)) == 32
    tokenizer = bert_folder(tmp_path / "c")
    content = json.loads((tokenizer / "tokenizer.json").read_text())
    content["normalizer"] = {"type": "Lowercase"}
    (tokenizer / "tokenizer.json").write_text(json.dumps(content))
    others = [
        SentenceEncoder(tmp_path / "a", "int8", 1),
        SentenceEncoder(bert_folder(tmp_path / "d", "cls_token"), "fp32", 1),
        SentenceEncoder(bert_folder(tmp_path / "e", max_tokens=23), "fp32", 1),
        SentenceEncoder(bert_folder(tmp_path / "f", num_hidden_layers=1), "fp32", 1),
        SentenceEncoder(tokenizer, "fp32", 1),
    ]
    assert len({first.digest, *(other.digest for other in others)}) == 6


def test_window_without_a_setting(tmp_path: Path) -> None:
    """Without a setting of its own the window is what the positions allow."""
    assert SentenceEncoder(bert_folder(tmp_path, max_tokens=None), "fp32", 1).max_tokens == 40


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"model_type": "mpnet"}, "model_type"),
        ({"hidden_act": "relu"}, "hidden_act"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
    ],
)
def test_unsupported_configurations_are_refused(tmp_path: Path, changes: dict[str, Any], key: str) -> None:
    """What the definition does not do is refused by the key that asks for it."""
    with pytest.raises(InvalidCheckpoint, match=key):
        encoder_shape(open_checkpoint(bert_folder(tmp_path, **changes)))


def test_unsupported_modules_are_refused(tmp_path: Path) -> None:
    """Another pooling, or a module after it, is refused by its name."""
    folder = bert_folder(tmp_path, "max_tokens")
    with pytest.raises(InvalidCheckpoint, match="pooling_mode is 'max'"):
        encoder_shape(open_checkpoint(folder))
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps([*modules, {"path": "2_Dense", "type": "m.Dense"}]))
    with pytest.raises(InvalidCheckpoint, match="Dense"):
        encoder_shape(open_checkpoint(folder))


async def test_what_needs_a_gpu_is_refused_without(tmp_path: Path) -> None:
    """fp16 runs by TensorRT alone; where that cannot be had, the setting is named, and what would do."""
    settings = EncoderSettings(folder=bert_folder(tmp_path), precision="fp16")
    with pytest.raises(ConfigError, match=r"encoder\.precision: got fp16, expected fp32 or int8, or a GPU"):
        await open_encoder(EmbeddingServicer(), settings)
