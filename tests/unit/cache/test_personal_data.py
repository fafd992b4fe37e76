"""Personal data: found by its form and check sum, not in what only looks like it, and never kept."""

import time
from pathlib import Path

import pytest

from services.cache.personal_data import PersonalData
from services.cache.query import NotKept
from tests.unit.cache.parts import ask, keep, opened, served


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Write to ann.lee+x@mail.example.org please", "email"),
        ("Call me at +44 20 7946 0958 tomorrow", "phone"),
        ("My card is 4111 1111 1111 1111, exp 12/29", "card"),
        ("Amex 378282246310005.", "card"),
        ("4111 1111 1111 1111 12/27, 123", "card"),
        ("4111 1111 1111 1111 123", "card"),
        ("exp 12 4111-1111-1111-1111", "card"),
        ("7,4111111111111111,Bob", "card"),
        ("Mastercard 2223000048400011", "card"),
        ("Amex 3782 822463 10005 1227", "card"),
        ("my iban de89370400440532013000 is new", "iban"),
        ("be43 0689 9999 9501 from ann", "iban"),
        ("DE89-3704-0044-0532-0130-00", "iban"),
        ("Call 0044 20 7946 0958.", "phone"),
        ("Call ＋44 20 7946 0958.", "phone"),
        ("jose@münchen.de", "email"),
        ("IBAN DE89 3704 0044 0532 0130 00", "iban"),
        ("SSN 536-90-4399", "ssn"),
    ],
)
def test_what_is_found(text: str, kind: str | None) -> None:
    """One example of each kind."""
    assert PersonalData().find(text) == kind


@pytest.mark.parametrize(
    "text",
    [
        "What is 4111111111111112 + 1?",
        "Is 3 @ 5 a price? user@host is no address.",
        "1 + 44 = 45 and 20 7946 0958",
        "DE89 3704 0044 0532 0130 01",
        "At 00:44 it was 0.0044 2079460958 of 1000 44 20 7946 0958",
        "Years 4111 1111 1111, ids 7111111111111111 and ab4111111111111111, 4111111111111111.5",
        "000-12-3456 and 2024-11-26 and 123-45-67890",
        "pi is 3.14159265358979323846, e is 2.71828182845904523536",
        "",
    ],
)
def test_what_only_looks_like_it(text: str) -> None:
    """Sums, prices, dates and numbers whose check sum fails are kept."""
    assert PersonalData().find(text) is None


@pytest.mark.parametrize("piece", ["4444 ", "4444 4444 4444 4441;", "AA00 ", "aa00aaaaaaaaaaaaaaa ", "0044 ", "+1 "])
def test_a_long_text_takes_no_longer_a_character(piece: str) -> None:
    """Whatever 1 MB is made of, it takes about eight times what an eighth takes: it holds the cache's one worker."""

    def cpu_s(size: int) -> float:
        begin = time.process_time()
        PersonalData().find(piece * (size // len(piece)))
        return time.process_time() - begin

    assert cpu_s(1 << 20) < 24 * max(cpu_s(1 << 17), 0.005)


def test_it_is_not_kept(tmp_path: Path) -> None:
    """Neither a prompt nor an answer with personal data reaches the file; settings may let a kind pass."""
    with opened(tmp_path) as cache:
        assert cache.store(keep("Mail ann@example.org")) is NotKept.PERSONAL_DATA
        assert cache.store(keep("Who?", "ann@example.org")) is NotKept.PERSONAL_DATA
        assert cache.stats().entries == 0
    assert b"ann@" not in b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    with opened(tmp_path, personal_data=("phone",)) as cache:
        cache.store(keep("Who?", "ann@example.org"))
        assert served(cache.lookup(ask("Who?"))) == "ann@example.org"


def test_another_detector(tmp_path: Path) -> None:
    """Whatever says what is personal can take its place."""

    class NoFruit:
        def find(self, text: str) -> str | None:
            return "fruit" if "apple" in text else None

    with opened(tmp_path, detector=NoFruit()) as cache:
        assert cache.store(keep("an apple")) is NotKept.PERSONAL_DATA
        assert isinstance(cache.store(keep("ann@example.org")), str)
