"""The exact key: equal for the same text, different for anything that could change an answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cache.entry import Partition
from services.cache.normalise import exact_key, normalise
from tests.unit.cache.parts import HERE


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is 2 + 2?", "  What  is 2 +  2? \n"),
        ("caf\u00e9", "cafe\u0301"),
        ("def f(x):\r\n    return x", "\ndef f(x):\n    return x\n\n"),
        ('Say "a  b"', ' Say "a  b"\n'),
    ],
)
def test_the_same_text(one: str, other: str) -> None:
    """Blanks around and between words, line ends and composed characters make no difference."""
    assert exact_key(HERE, one) == exact_key(HERE, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Reverse Polish", "Reverse polish"),
        ("What is 5!", "What is 5"),
        ("if x:\n  y\n  z", "if x:\n  y\nz"),
        ("  a\n  b", "a\n  b"),
        ('How long is "a  b"?', 'How long is "a b"?'),
        ("a\tb", "a b"),
        ("x²", "x2"),
        ("don't", "dont"),
    ],
)
def test_another_text(one: str, other: str) -> None:
    """Letter case, punctuation, indentation, quoted blanks and compatibility characters all count."""
    assert exact_key(HERE, one) != exact_key(HERE, other)


@given(st.text(max_size=60))
def test_idempotent(text: str) -> None:
    """Normalising twice changes nothing more."""
    assert normalise(normalise(text)) == normalise(text)


@given(st.text(max_size=5), st.binary(max_size=5), st.text(max_size=5), st.text(max_size=5), st.binary(max_size=5))
def test_parts_do_not_run_together(
    tenant: str, fingerprint: bytes, text: str, tenant2: str, fingerprint2: bytes
) -> None:
    """Keys are equal only where tenant and fingerprint are."""
    one, other = Partition(tenant, fingerprint), Partition(tenant2, fingerprint2)
    assert (exact_key(one, text) == exact_key(other, text)) == (one == other)
