"""What the encoder's tokens tell the benchmark's verifier of two texts."""

import tempfile
from pathlib import Path

import numpy as np
import pytest

from benchmarks.caching.corpus import ENCODER
from benchmarks.caching.pair_tokens import PairTokens
from benchmarks.caching.token_states import TokenStates
from services.executor.sentence_encoder import SentenceEncoder

ONE, OTHER = "How do I cancel my card?", "How can I top up my card?"
FOUND_LEAST, LOST, SHARES = 0, 2, slice(-2, None)  # among the numbers of `aligned`


@pytest.fixture(scope="module")
def states() -> TokenStates:
    if not ENCODER.exists():
        pytest.skip(f"{ENCODER} is absent: fulcrum models pull all-MiniLM-L6-v2")
    return TokenStates(ENCODER)


@pytest.fixture
def tokens(states: TokenStates, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> PairTokens:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    return PairTokens(states, [ONE, OTHER, "Where is my card?", "Why?"])


def test_the_mean_of_the_last_states_is_the_encoders_vector(tokens: PairTokens) -> None:
    """So that the cosine of a pair is the cache's similarity; texts of other lengths beside it change nothing."""
    encoder = SentenceEncoder(ENCODER, "fp32", 1)
    expected = [encoder.encode([encoder.tokenise(text)])[0] for text in (ONE, OTHER)]
    np.testing.assert_allclose(tokens.met([(ONE, OTHER), ("Why?", ONE)]).vectors[:2], expected, atol=1e-6)


def test_the_order_of_the_texts_says_nothing(tokens: PairTokens) -> None:
    """What is told of tokens is the same from either side."""
    there, back = tokens.met([(ONE, OTHER)]), tokens.met([(OTHER, ONE)])
    np.testing.assert_allclose(there.aligned, back.aligned, rtol=1e-5)
    np.testing.assert_allclose(there.apart, back.apart, atol=1e-6)


def test_a_text_finds_itself_whole(tokens: PairTokens) -> None:
    """Nothing is lost or had alone; of different texts something is; without tokens nothing is told."""
    itself, different, empty = tokens.met([(ONE, ONE), (ONE, OTHER), ("", ONE)]).aligned
    assert itself[FOUND_LEAST] == pytest.approx(1, abs=1e-5)
    assert itself[LOST] == pytest.approx(0, abs=1e-4)
    assert itself[SHARES].tolist() == [0, 0]
    assert different[FOUND_LEAST] < 0.99
    assert different[LOST] > 0.1
    assert (different[SHARES] > 0).all()
    assert not empty.any()


def test_what_was_read_once_is_kept(tokens: PairTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second run reads nothing and is told the same."""
    before = tokens.met([(ONE, OTHER)])
    monkeypatch.delattr(TokenStates, "read")
    after = tokens.met([(ONE, OTHER)])
    for kind in ("vectors", "aligned", "apart"):
        assert (getattr(before, kind) == getattr(after, kind)).all()
