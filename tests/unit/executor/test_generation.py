"""What an answer tells of its tokens is what it tells of its text."""

from collections.abc import Sequence

import pytest

from services.executor.engine import FinishReason, Sampling, TextDelta
from services.executor.generation import Generation
from services.executor.vocabulary import Vocabulary
from tests.unit.executor.folders import END, VOCABULARY, byte_tokenizer

TOKENIZER = byte_tokenizer()
ENDS = frozenset({END})
WORDS = Vocabulary(TOKENIZER, ENDS, VOCABULARY)


def deltas(said: bytes, stop: Sequence[str], limit: int = 100, end: bool = True) -> tuple[list[TextDelta], Generation]:
    """What is told as a model says so, a token a byte."""
    sampling = Sampling(stop=tuple(stop), top_logprobs=0)
    made = Generation("a", [1], limit, sampling, TOKENIZER, ENDS, WORDS)
    found = []
    for token in [*said, *([END] if end else [])]:
        if made.reason is None:
            found.append(made.accept(token, -0.5))
    return [delta for delta in found if delta], made


@pytest.mark.parametrize(
    ("said", "stop", "text"),
    [
        (b"hello STOP more", ["STOP"], "hello "),
        ("né→ STOP".encode(), ["STOP"], "né→ "),
        ("a→b".encode(), ["→"], "a"),
        (b"STOP", ["STOP"], ""),
        (b"an ST it was", ["STOP"], "an ST it was"),
        (b"it ends on ST", ["STOP"], "it ends on ST"),
        (b"plain", [], "plain"),
    ],
)
def test_probabilities_of_the_text_alone(said: bytes, stop: list[str], text: str) -> None:
    """Tokens of a stop text are not told, those held back meanwhile come with their text, and none is lost or early."""
    found, made = deltas(said, stop)
    given = told = b""
    for delta in found:
        given += delta.text.encode()
        told += b"".join(one.token for one in delta.logprobs)
        assert told == given
    assert given.decode() == text
    assert made.reason is FinishReason.STOP


def test_the_last_tokens_of_a_text_cut_short() -> None:
    """Where the limit comes within a character, its tokens are told beside what stands for it."""
    found, made = deltas("ab→".encode(), [], limit=4, end=False)
    assert made.reason is FinishReason.LENGTH
    assert "".join(delta.text for delta in found) == "ab\N{REPLACEMENT CHARACTER}"
    assert b"".join(one.token for delta in found for one in delta.logprobs) == "ab→".encode()[:4]
