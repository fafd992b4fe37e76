"""The features: what they count, what they are blind to, that they never change, and that they stay cheap."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.features import LEXICAL_FEATURES, lexical


def named(text: str) -> dict[str, float]:
    return dict(zip(LEXICAL_FEATURES, lexical(text).tolist(), strict=True))


def test_counts() -> None:
    """Each fact is counted as documented, on the text in small letters with its white space collapsed."""
    text = "What is 12 + 345?\nA. six\nB. 357 or more"
    found = named(text)
    assert found["log_characters"] == pytest.approx(np.log1p(len(text)))
    assert found["log_words"] == pytest.approx(np.log1p(7))  # what is a six b or more
    assert found["log_numbers"] == pytest.approx(np.log1p(3))
    assert found["log_stem"] == pytest.approx(np.log1p(len("What is 12 + 345?")))
    assert found["log_options"] == pytest.approx(np.log1p(2))
    assert found["numeric_options"] == 0.5
    assert found["largest_number"] == pytest.approx(357**0.1)
    assert found["digits"] == pytest.approx(8 / len(text))
    assert found["operators"] == pytest.approx(1 / len(text))
    assert found["says_what"] == 1
    assert found["says_why"] == 0


@pytest.mark.parametrize(
    ("options", "alike"),
    [
        ("a. red b. green c. blue", 0.0),
        ("a. more heat, less light b. less heat, more light c. none", 1.0),
        ("a. the left bank b. the right bank c. a bridge", 0.5),
        ("a. the left bank b. a bridge c. the left bank", 0.0),
    ],
)
def test_options_of_the_same_words_are_alike(options: str, alike: float) -> None:
    """The most that two neighbours share counts; without options there is nothing to share."""
    assert named(f"Which? {options}")["alike_options"] == pytest.approx(alike)
    assert named("The left bank, the left bank?")["alike_options"] == 0


@pytest.mark.parametrize(
    "same",
    [
        "WHY DOES ICE FLOAT?",
        "why  does\n ice float?",
        "Please, why does ice float?",
        "why does ice float? thanks!",
        "Hello! Could you please help me with this? Why does ice float?\nThank you very much for your help!",
        "I have a question. Why does ice float?",
    ],
)
def test_casing_white_space_and_courtesy_change_nothing(same: str) -> None:
    """The same question, said louder, wider or more kindly, has the same features but for its length."""
    plain, other = named("why does ice float?"), named(same)
    assert {name for name in plain if not np.isclose(plain[name], other[name])} <= {"log_characters"}


def test_what_is_asked_is_no_courtesy() -> None:
    """A sentence with a word of its own stays, as does a text of courtesies alone."""
    assert named("I have a cat. Why does it purr?")["log_words"] == pytest.approx(np.log1p(8))
    assert named("Please help me with this.")["log_words"] > 0


@pytest.mark.parametrize("slipped", ["whcih of these follows?", "whiich of these follows?"])
def test_a_slip_within_a_word_leaves_what_it_tells(slipped: str) -> None:
    """Letters swapped or doubled inside a word that is told do not make it another."""
    assert named(slipped)["says_which"] == 1
    assert named("a witch follows?")["says_which"] == 0


@given(st.text())
def test_any_text_gives_the_same_finite_features_twice(text: str) -> None:
    """Every text, lone surrogates included, has finite float32 features that do not vary."""
    first, second = lexical(text), lexical(text)
    assert first.dtype == np.float32
    assert first.shape == (len(LEXICAL_FEATURES),)
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first, second)


def test_cost_is_bounded_by_the_window() -> None:
    """A megabyte costs no more than its beginning."""
    begin = time.process_time()
    for _ in range(20):
        lexical("a 1 " * 250_000)
    assert (time.process_time() - begin) / 20 < 0.005
