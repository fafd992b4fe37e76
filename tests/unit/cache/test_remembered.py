"""What waits for a verdict is bounded, and a tenant's share of it is its own."""

from services.cache.remembered import Remembered


def held(remembered: Remembered[int], tenant: str, count: int) -> list[int]:
    """The values of a tenant that are still there."""
    found = (remembered.get(tenant, str(key)) for key in range(count))
    return [value for value in found if value is not None]


def test_a_tenant_forgets_its_own() -> None:
    """Whoever has more than an equal share gives up the oldest; others keep theirs, whatever comes beside them."""
    remembered = Remembered[int](10)
    for key in range(4):
        remembered.put("few", str(key), key)
    for key in range(1000):
        remembered.put("many", str(key), key)
    assert held(remembered, "few", 4) == [0, 1, 2, 3]
    assert held(remembered, "many", 1000) == [994, 995, 996, 997, 998, 999]


def test_room_is_made_for_who_has_little() -> None:
    """A tenant that fills all gives up what a later one is entitled to, one by one."""
    remembered = Remembered[int](10)
    for key in range(10):
        remembered.put("first", str(key), key)
    for key in range(8):
        remembered.put("later", str(key), key)
    assert held(remembered, "first", 10) == [5, 6, 7, 8, 9]
    assert held(remembered, "later", 8) == [3, 4, 5, 6, 7]


def test_ids_are_a_tenants_own() -> None:
    """Another tenant's id finds nothing; one that is taken out is gone, and its place is free."""
    remembered = Remembered[int](2)
    remembered.put("one", "a", 1)
    assert remembered.get("two", "a") is None
    assert remembered.pop("one", "a") == 1
    assert remembered.get("one", "a") is None
    remembered.put("one", "b", 2)
    remembered.put("two", "c", 3)
    assert (remembered.get("one", "b"), remembered.get("two", "c")) == (2, 3)
