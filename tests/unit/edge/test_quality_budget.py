"""The quality that may be lost is shared out whole, never more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.edge.quality_budget import QualityBudget

shares = st.floats(0, 1)


@given(shares, shares, st.booleans())
def test_the_parts_add_up(loss: float, part: float, cache_in_use: bool) -> None:
    """Neither part is negative, and together they are the whole and not a rounding more than it."""
    budget = QualityBudget.split(loss, part, cache_in_use)
    assert budget.max_quality_loss == loss
    assert 0 <= budget.cache_share <= loss
    assert 0 <= budget.router_share <= loss
    assert budget.cache_share + budget.router_share == pytest.approx(loss, rel=1e-15)


@given(shares, shares)
def test_an_unused_cache_leaves_all_to_the_router(loss: float, part: float) -> None:
    """What the cache cannot spend the router may."""
    budget = QualityBudget.split(loss, part, cache_in_use=False)
    assert (budget.cache_share, budget.router_share) == (0, loss)


def test_the_operators_part() -> None:
    """The cache gets the part that the operator sets."""
    budget = QualityBudget.split(0.04, 0.25, cache_in_use=True)
    assert [budget.cache_share, budget.router_share] == pytest.approx([0.01, 0.03])
