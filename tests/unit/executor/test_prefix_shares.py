"""What tenants keep of the memory for prefixes while others fill it."""

from collections.abc import Hashable, Sequence
from itertools import count

import pytest

from services.executor.prefix_eviction import LeastWorth
from services.executor.prefix_tree import PrefixTree

CAPACITY = 400


class Kept:
    """A tree under the executor's eviction, and prompts that nobody sent before."""

    def __init__(self) -> None:
        self.tree = PrefixTree(CAPACITY, LeastWorth(CAPACITY))
        self._fresh = count()

    def ask(self, tenant: str, keys: Sequence[Hashable]) -> int:
        """A request with these blocks; returns how many were found."""
        lease = self.tree.match(tenant, keys)
        self.tree.release(lease)
        self.tree.release(self.tree.insert(tenant, keys))
        return lease.kept

    def new(self, blocks: int) -> list[Hashable]:
        return [next(self._fresh) for _ in range(blocks)]

    def flood(self, tenant: str, capacities: float, size: int, times: int = 1) -> None:
        """Distinct prompts, each sent so many times in a row, as often as fill the memory so many times."""
        for _ in range(int(capacities * CAPACITY / size / times)):
            prompt = self.new(size)
            for _ in range(times):
                self.ask(tenant, prompt)


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("size", [1, 16, CAPACITY])
def test_a_flood_of_one_tenant_leaves_anothers_prefix(size: int, times: int) -> None:
    """Prompts without number, even such as come back and count as worth more, take nothing of another's share."""
    kept = Kept()
    hot = kept.new(CAPACITY // 4)
    kept.ask("quiet", hot)
    for _ in range(3):
        kept.flood("loud", 3, size, times)
        assert kept.ask("quiet", hot) == len(hot)


def test_what_is_above_a_share_goes_by_worth() -> None:
    """Half of the memory is shared out; a tenant that holds more loses that, and no more, to who asks more."""
    kept = Kept()
    prompts = [kept.new(10) for _ in range(CAPACITY // 10)]
    for prompt in prompts:
        kept.ask("quiet", prompt)
    kept.flood("loud", 5, 10)
    assert sum(kept.ask("quiet", prompt) == 10 for prompt in prompts[-10:]) == 10
    assert kept.ask("quiet", prompts[0]) == 0


def test_the_share_of_who_is_gone_is_free() -> None:
    """A tenant that asked for nothing while the memory was filled many times over keeps nothing in it."""
    kept = Kept()
    old = kept.new(10)
    kept.ask("gone", old)
    kept.flood("loud", 20, 10)
    assert kept.ask("gone", old) == 0


def test_many_tenants_have_equal_shares() -> None:
    """Each finds a prefix of its share's size, however many there are and whoever floods."""
    kept = Kept()
    tenants = [str(number) for number in range(20)]
    hot = {tenant: kept.new(CAPACITY // 2 // (len(tenants) + 1)) for tenant in tenants}
    for _ in range(3):
        found = [kept.ask(tenant, keys) for tenant, keys in hot.items()]
        kept.flood("loud", 2, 7)
    assert found == [len(keys) for keys in hot.values()]


def test_one_tenant_has_all_of_it() -> None:
    """Where nobody else asks, a tenant's prefixes fill the memory."""
    kept = Kept()
    prompts = [kept.new(10) for _ in range(CAPACITY // 10)]
    for _ in range(2):
        found = [kept.ask("only", prompt) for prompt in prompts]
    assert found == [10] * len(prompts)
