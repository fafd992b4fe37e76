"""The features: what they count, that they never change, and that they stay cheap."""

import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.router.features import LEXICAL_FEATURES, features, lexical


def named(text: str) -> dict[str, float]:
    return dict(zip(LEXICAL_FEATURES, lexical(text).tolist(), strict=True))


def test_counts() -> None:
    """Each fact is counted as documented."""
    found = named('What is 12 + 345?\nSay "é".')
    bytes_ = len('What is 12 + 345?\nSay "é".'.encode())
    assert np.isclose(found["log_characters"], np.log1p(bytes_ - 1))
    assert np.isclose(found["log_words"], np.log1p(7))
    assert np.isclose(found["log_numbers"], np.log1p(2))
    assert np.isclose(found["log_lines"], np.log1p(1))
    assert np.isclose(found["digits"], 5 / bytes_)
    assert np.isclose(found["capitals"], 2 / bytes_)
    assert np.isclose(found["operators"], 1 / bytes_)
    assert np.isclose(found["questions"], 1 / bytes_)
    assert np.isclose(found["quotes"], 2 / bytes_)
    assert np.isclose(found["not_ascii"], 2 / bytes_)


@given(st.text())
def test_any_text_gives_the_same_finite_features_twice(text: str) -> None:
    """Every text, lone surrogates included, has finite float32 features that do not vary."""
    first, second = lexical(text), lexical(text)
    assert first.dtype == np.float32
    assert first.shape == (len(LEXICAL_FEATURES),)
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first, second)


def test_features_follow_the_embedding() -> None:
    """The embedding comes first, unchanged."""
    embedding = np.arange(384, dtype=np.float32)
    found = features("text", embedding)
    np.testing.assert_array_equal(found[:384], embedding)
    np.testing.assert_array_equal(found[384:], lexical("text"))
    assert found.dtype == np.float32


def test_cost_is_bounded_by_the_window() -> None:
    """A megabyte costs no more than its first 8 KiB."""
    begin = time.process_time()
    for _ in range(20):
        lexical("a 1 " * 250_000)
    assert (time.process_time() - begin) / 20 < 0.005
