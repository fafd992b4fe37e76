"""What the rule for new scopes was measured to get right."""

from services.cache.decision import MEASURED_PRECISION, precision


def test_precision_rises_with_similarity() -> None:
    """The measured table is monotone, and at its steps takes the upper value."""
    shares = [precision(hundredth / 100) for hundredth in range(-100, 101)]
    assert shares == sorted(shares)
    assert [precision(step) for step, _ in MEASURED_PRECISION] == [share for _, share in MEASURED_PRECISION]
    assert 0 < precision(0.8) < precision(1.0) < 1
