"""Examples of a warm-up: what is near what, and what is known of it."""

from collections.abc import Sequence

import numpy as np
from fulcrum.cache.v1 import cache_service_pb2 as pb
from numpy.typing import NDArray

from services.cli.labelled import Logged, Pair
from services.cli.warming import examples_of, latest


def examples(rows: Sequence[Pair | Logged]) -> list[pb.Example]:
    texts = latest(rows)
    return examples_of(rows, texts, encode(texts))


def encode(texts: Sequence[str]) -> NDArray[np.float32]:
    """The more letters two texts share, the nearer they are; one in capitals is beyond the window."""
    vectors = np.array([[text.count(letter) for letter in "abcdef"] for text in texts], np.float32)
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1))


def test_a_log_knows_every_verdict() -> None:
    """Texts with one answer share its number; a neighbour with another answer is wrong, null is alone."""
    rows = [Logged("ab", "x"), Logged("abb", "x"), Logged("ac", "y"), Logged("ab", "z"), Logged("bc", None)]
    found = examples(rows)
    assert [one.text for one in found] == ["abb", "ac", "ab", "bc"]
    assert found[0].answer == found[2].answer
    assert len({one.answer for one in found}) == 3
    nearest = found[2].nearest
    assert [(near.example, near.verdict) for near in nearest] == [(0, pb.VERDICT_RIGHT), (1, pb.VERDICT_WRONG)]
    assert nearest[0].similarity > nearest[1].similarity
    assert not found[0].nearest


def test_pairs_know_what_they_say_and_what_follows() -> None:
    """Same is passed on from pair to pair, different too; of texts that no pair connects nothing is known."""
    rows = [Pair("a", "ab", True), Pair("ab", "abb", True), Pair("a", "af", False), Pair("d", "da", True)]
    found = {one.text: one for one in examples(rows)}
    texts = list(found)

    def verdict(text: str, other: str) -> int:
        (told,) = [near.verdict for near in found[text].nearest if texts[near.example] == other]
        return told

    assert verdict("a", "abb") == pb.VERDICT_RIGHT
    assert verdict("af", "abb") == pb.VERDICT_WRONG
    assert verdict("da", "abb") == pb.VERDICT_UNSPECIFIED


def test_a_text_without_a_vector_is_near_nothing() -> None:
    """What the encoder cannot embed whole gets no similar answer, so that it teaches none."""
    found = examples([Logged("ab", "x"), Logged("QQ", "x"), Logged("abb", "x")])
    assert not found[1].nearest
    assert [near.example for near in found[2].nearest] == [0]


def test_the_latest_texts_are_taken() -> None:
    """Beyond what a request holds, the texts of the first rows are left out."""
    rows = [Logged(f"{number:05d}" + "ab" * 100, "x") for number in range(6000)]
    found = examples(rows)
    assert len(found) == 1_000_000 // 205
    assert found[-1].text == rows[-1].text
    assert pb.WarmUpRequest(examples=found).ByteSize() < 4 * 1024 * 1024
