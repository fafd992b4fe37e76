"""Text comes back as it went in, whole characters at a time, and stops where it must, wherever the chunks are cut."""

from hypothesis import given
from hypothesis import strategies as st

from services.executor.text import Detokeniser, StopFinder
from tests.unit.executor.folders import byte_tokenizer

TOKENIZER = byte_tokenizer()


def detokenised(tokens: list[int]) -> list[str]:
    detokeniser = Detokeniser(TOKENIZER)
    return [*(detokeniser.push(token) for token in tokens), detokeniser.flush()]


@given(st.text())
def test_text_survives(text: str) -> None:
    """Any text comes back from its byte tokens; no piece holds a broken character that the text does not."""
    pieces = detokenised(list(text.encode()))
    assert "".join(pieces) == text
    assert all(piece in text for piece in pieces)


def test_a_character_waits_for_its_last_byte() -> None:
    """Nothing is given out in the middle of a character of two, three or four bytes."""
    assert detokenised(list("aéà漢😀z".encode())) == ["a", "", "é", "", "à", "", "", "漢", "", "", "", "😀", "z", ""]


@given(st.binary(max_size=60))
def test_broken_bytes_end(data: bytes) -> None:
    """Bytes that are no UTF-8 give replacement characters and never an error; what is valid at the end survives."""
    pieces = detokenised([*data, *b" end"])
    assert "".join(pieces).endswith(" end")
    assert all(len(piece) <= 12 for piece in pieces)


def test_an_unfinished_character_is_flushed() -> None:
    """An answer cut inside a character ends in a replacement character."""
    assert "".join(detokenised([*b"ok", 0xF0, 0x9F])) == "ok\N{REPLACEMENT CHARACTER}"


def test_special_tokens_are_silent() -> None:
    """Special tokens are not text."""
    assert detokenised([ord("a"), 256, ord("b")]) == ["a", "", "b", ""]


@given(st.text("abc", max_size=30), st.lists(st.text("abc", min_size=1, max_size=4), max_size=3), st.data())
def test_stops_wherever_chunks_are_cut(text: str, stops: list[str], data: st.DataObject) -> None:
    """The text up to the first stop comes out, the same for any cutting into chunks as for the whole."""
    finder, found, rest = StopFinder(stops), "", text
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        found, rest = found + finder.push(rest[:size]), rest[size:]
    found += finder.flush()
    ends = [at + len(stop) for stop in stops for at in [text.find(stop)] if at >= 0]
    assert finder.found == bool(ends)
    if not ends:
        assert found == text
    else:
        assert text.startswith(found)
        assert not any(stop in found for stop in stops)
        assert any(text.startswith(stop, len(found)) for stop in stops)


def test_holds_back_no_more_than_it_must() -> None:
    """Text that can no longer begin a stop is given out at once."""
    finder = StopFinder(["END"])
    assert [finder.push(piece) for piece in ("some E", "N", "x", "E", "ND more")] == ["some ", "", "ENx", "", ""]
    assert (finder.found, finder.flush()) == (True, "")


class Straddling:
    """Tokens that are any three bytes of a text, so that nearly all of them end within a character."""

    def __init__(self, text: str) -> None:
        self._bytes = text.encode()

    def tokens(self) -> list[int]:
        return list(range(0, len(self._bytes), 4))

    def decode(self, tokens: list[int]) -> str:
        return b"".join(self._bytes[token : token + 4] for token in tokens).decode("utf-8", "replace")


def test_tokens_that_straddle_characters() -> None:
    """However long no token ends with a character, each character comes as soon as it is whole, and none is broken."""
    text = "日本語文字列試験用文章長文例です" * 3 + "."
    tokenizer = Straddling(text)
    detokeniser = Detokeniser(tokenizer)  # type: ignore[arg-type]
    pieces = [*(detokeniser.push(token) for token in tokenizer.tokens()), detokeniser.flush()]
    assert "".join(pieces) == text
    assert max(map(len, pieces)) <= 2
