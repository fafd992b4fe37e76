"""Our encoder against sentence-transformers, on real weights and real texts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModel

from services.executor.sentence_encoder import SentenceEncoder, Tokens
from tests.oracles.prompts import passages, questions
from tests.unit.executor.folders import bert_folder

MINILM = Path(".models/all-MiniLM-L6-v2")


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [*questions(200), *passages(295), "", "  ", "naïve 漢字 😀", "UPPER lower", "a\n\tb"]


@pytest.fixture(scope="module")
def expected(texts: list[str]) -> np.ndarray:
    found = SentenceTransformer(str(MINILM), device="cpu").encode(texts, normalize_embeddings=True)
    return np.asarray(found)


def embedded(precision: str, texts: list[str]) -> np.ndarray:
    encoder = SentenceEncoder(MINILM, precision, threads=2)
    return np.concatenate([encoder.encode([encoder.tokenise(text)]) for text in texts])


def test_fp32_equals_sentence_transformers(texts: list[str], expected: np.ndarray) -> None:
    """500 texts of 2 to more than 256 tokens: every vector points where sentence-transformers' does."""
    assert len(texts) == 500
    cosines = (embedded("fp32", texts) * expected).sum(axis=1)
    print(f"fp32: least cosine {cosines.min():.7f}")
    assert cosines.min() >= 0.9999


def test_int8_stays_close_and_keeps_the_order(texts: list[str], expected: np.ndarray) -> None:
    """int8 is a space of its own near fp32's, in which pairs of texts keep their order of similarity."""
    found = embedded("int8", texts)
    cosines = (found * expected).sum(axis=1)
    pairs = np.triu_indices(len(texts), 1)
    ranks = [np.argsort(np.argsort((vectors @ vectors.T)[pairs])) for vectors in (found, expected)]
    agreement = np.corrcoef(*ranks)[0, 1]
    print(f"int8: mean cosine {cosines.mean():.5f}, least {cosines.min():.5f}, rank correlation {agreement:.5f}")
    assert cosines.mean() > 0.99
    assert cosines.min() > 0.97
    assert agreement > 0.99


@pytest.mark.parametrize("family", [{}, {"model_type": "xlm-roberta", "type_vocab_size": 1}])
@pytest.mark.parametrize("pooling", ["mean_tokens", "cls_token"])
def test_families_equal_transformers(tmp_path: Path, family: dict[str, Any], pooling: str) -> None:
    """Random encoders of each family and pooling give transformers' vectors."""
    folder = bert_folder(tmp_path, pooling, **family)
    rows = torch.arange(5, 65).reshape(3, 20)
    with torch.inference_mode():
        states = AutoModel.from_pretrained(folder).eval()(rows).last_hidden_state
    pooled = states.mean(1) if pooling == "mean_tokens" else states[:, 0]
    found = SentenceEncoder(folder, "fp32", 1).encode([Tokens(tuple(row), 20) for row in rows.tolist()])
    np.testing.assert_allclose(found, torch.nn.functional.normalize(pooled).numpy(), atol=1e-5)
