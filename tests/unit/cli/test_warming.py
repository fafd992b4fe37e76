"""Examples of a warm-up: what is near what, and what is known of it."""

from collections.abc import Sequence

import numpy as np
from fulcrum.cache.v1 import cache_service_pb2 as pb
from numpy.typing import NDArray

from services.cli.labelled import Logged, Pair
from services.cli.warming import examples_of


def encode(texts: Sequence[str]) -> NDArray[np.float32]:
    """The more letters two texts share, the nearer they are; one in capitals is beyond the window."""
    vectors = np.array([[text.count(letter) for letter in "abcdef"] for text in texts], np.float32)
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1))


def test_a_log_knows_every_verdict() -> None:
    """Texts with one answer share its number; a neighbour with another answer is wrong, null is alone."""
    rows = [Logged("ab", "x"), Logged("abb", "x"), Logged("ac", "y"), Logged("ab", "z"), Logged("bc", None)]
    examples = examples_of(rows, encode)
    assert [one.text for one in examples] == ["abb", "ac", "ab", "bc"]
    assert examples[0].answer == examples[2].answer
    assert len({one.answer for one in examples}) == 3
    nearest = examples[2].nearest
    assert [(near.example, near.verdict) for near in nearest] == [(0, pb.VERDICT_RIGHT), (1, pb.VERDICT_WRONG)]
    assert nearest[0].similarity > nearest[1].similarity
    assert not examples[0].nearest


def test_pairs_know_what_they_say_and_what_follows() -> None:
    """Same is passed on from pair to pair, different too; of texts that no pair connects nothing is known."""
    rows = [Pair("a", "ab", True), Pair("ab", "abb", True), Pair("a", "af", False), Pair("d", "da", True)]
    examples = {one.text: one for one in examples_of(rows, encode)}
    texts = list(examples)

    def verdict(text: str, other: str) -> int:
        (found,) = [near.verdict for near in examples[text].nearest if texts[near.example] == other]
        return found

    assert verdict("a", "abb") == pb.VERDICT_RIGHT
    assert verdict("af", "abb") == pb.VERDICT_WRONG
    assert verdict("da", "abb") == pb.VERDICT_UNSPECIFIED


def test_a_text_without_a_vector_is_near_nothing() -> None:
    """What the encoder cannot embed whole gets no similar answer, so that it teaches none."""
    examples = examples_of([Logged("ab", "x"), Logged("QQ", "x"), Logged("abb", "x")], encode)
    assert not examples[1].nearest
    assert [near.example for near in examples[2].nearest] == [0]


def test_the_latest_texts_are_taken() -> None:
    """Beyond what a request holds, the texts of the first rows are left out."""
    rows = [Logged(f"{number:05d}" + "ab" * 100, "x") for number in range(6000)]
    examples = examples_of(rows, encode)
    assert len(examples) == 1_000_000 // 205
    assert examples[-1].text == rows[-1].text
    assert pb.WarmUpRequest(examples=examples).ByteSize() < 4 * 1024 * 1024
