"""The fixed rule: near enough, no veto, and a bound that allows what it was measured to get wrong."""

import pytest

from services.cache.decision import (
    MEASURED_PRECISION,
    MEASURED_WRONG_SHARE,
    Decline,
    FixedRule,
    MissReason,
    Neighbour,
    Serve,
    precision,
)
from services.cache.entry import Entry
from tests.unit.cache.parts import HERE, answer

QUESTION = "What is the capital of France?"


def neighbour(text: str, similarity: float) -> Neighbour:
    return Neighbour(Entry(1, "e-1", HERE, text, answer(), 0, None), similarity)


def test_serves_the_nearest_without_a_veto() -> None:
    """A nearer entry that is vetoed does not hide one that is right."""
    near = [neighbour("What is the capital of Greece?", 0.95), neighbour("Name the capital of France.", 0.9)]
    served = FixedRule(0.8).decide(QUESTION, near, 0.01)
    assert isinstance(served, Serve)
    assert served.neighbour is near[1]
    assert served.probability == precision(0.9)


@pytest.mark.parametrize(
    ("text", "similarity", "reason", "explanation"),
    [
        ("Name the capital of France.", 0.79, MissReason.NOT_NEAR, "nearest 0.790, served from 0.800"),
        ("What is the capital of Greece?", 0.99, MissReason.VETOED, "nearest 0.990, but its names"),
    ],
)
def test_says_why_not(text: str, similarity: float, reason: MissReason, explanation: str) -> None:
    """A miss names its reason and explains it without quoting anyone's prompt."""
    declined = FixedRule(0.8).decide(QUESTION, [neighbour(text, similarity)], 0.01)
    assert isinstance(declined, Decline)
    assert declined.reason is reason
    assert declined.explanation.startswith(explanation)


def test_no_neighbour() -> None:
    """Without a neighbour there is nothing near."""
    declined = FixedRule(0.8).decide(QUESTION, [], 0.01)
    assert isinstance(declined, Decline)
    assert declined.reason is MissReason.NOT_NEAR


@pytest.mark.parametrize("bound", [0.0, MEASURED_WRONG_SHARE / 2])
def test_a_bound_below_what_was_measured_serves_nothing(bound: float) -> None:
    """The rule does not promise less than it was measured to get wrong."""
    assert isinstance(FixedRule(0.8).decide(QUESTION, [neighbour(QUESTION, 1.0)], bound), Decline)


def test_precision_rises_with_similarity() -> None:
    """The measured table is monotone, and at its steps takes the upper value."""
    shares = [precision(hundredth / 100) for hundredth in range(-100, 101)]
    assert shares == sorted(shares)
    assert [precision(step) for step, _ in MEASURED_PRECISION] == [share for _, share in MEASURED_PRECISION]
    assert 0 < precision(0.8) < precision(1.0) < 1
