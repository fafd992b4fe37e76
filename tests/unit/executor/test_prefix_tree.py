"""The books of kept prefixes against a naive model that holds plain sequences."""

from collections.abc import Callable, Hashable, Sequence
from functools import partial

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from benchmarks.prefix_policies import LeastRecentlyUsed
from services.executor.prefix_eviction import LeastWorth
from services.executor.prefix_tree import Eviction, Lease, PrefixTree

CAPACITY = 6
KEYS = st.lists(st.integers(0, 2), max_size=CAPACITY + 2)
SALTS = st.sampled_from(["a", "b"])


class Books(RuleBasedStateMachine):
    """What any order of calls must keep to; `held` says which prefix each filled place holds, as its owner would."""

    leases = Bundle("leases")
    eviction: Callable[[], Eviction] = LeastRecentlyUsed
    others_keep = 0  # blocks at most that may not go for another salt's

    def __init__(self) -> None:
        super().__init__()
        self.tree = PrefixTree(CAPACITY, self.eviction())
        self.held: dict[int, tuple[Hashable, ...]] = {}
        self.out: dict[Lease, tuple[tuple[Hashable, ...], tuple[int, ...]]] = {}
        self.generation = {"a": 0, "b": 0}

    def prefixes(self, salt: str, keys: Sequence[int]) -> list[tuple[Hashable, ...]]:
        return [(salt, self.generation[salt], *keys[: end + 1]) for end in range(len(keys))]

    def lease(self, lease: Lease, whole: Sequence[tuple[Hashable, ...]]) -> None:
        places = lease.places
        assert [self.held[place] for place in places[: lease.kept]] == whole[: lease.kept]
        others = {place for _, held in self.out.values() for place in held}
        new = places[lease.kept :]
        assert len(set(places)) == len(places)
        assert not others & set(new), "a leased block was evicted"
        for place in new:
            self.held.pop(place, None)
        self.out[lease] = (whole[len(places) - 1] if places else (), places)

    @rule(target=leases, salt=SALTS, keys=KEYS)
    def match(self, salt: str, keys: list[int]) -> Lease:
        """Finds prefixes that were filled under this salt, where they were filled."""
        lease = self.tree.match(salt, keys)
        assert lease.kept == len(lease.blocks)
        self.lease(lease, self.prefixes(salt, keys))
        return lease

    @rule(target=leases, salt=SALTS, keys=KEYS, grown=st.booleans())
    def insert(self, salt: str, keys: list[int], grown: bool) -> Lease:
        """Gives new blocks places that nobody holds, and all of them where nothing is held, or is another's to keep."""
        alone = not self.out
        lease = self.tree.insert(salt, keys, grown)
        self.lease(lease, self.prefixes(salt, keys))
        if alone:
            assert len(lease.blocks) >= min(len(keys), CAPACITY - self.others_keep)
        return lease

    @rule(lease=consumes(leases))
    def release(self, lease: Lease) -> None:
        """What was filled is found from now on."""
        whole, places = self.out.pop(lease)
        for index, place in enumerate(places[lease.kept :], lease.kept):
            self.held[place] = whole[: index + 3]
        self.tree.release(lease)
        salt, generation = (str(whole[0]), whole[1]) if whole else ("", 0)
        if whole and generation == self.generation[salt]:
            assert self.found(salt, whole[2:]) == places

    @rule(lease=consumes(leases))
    def abandon(self, lease: Lease) -> None:
        """What was not filled is found by nobody, and what was kept stays."""
        whole, places = self.out.pop(lease)
        self.tree.abandon(lease)
        if whole and whole[1] == self.generation[str(whole[0])]:
            assert self.found(str(whole[0]), whole[2:]) == places[: lease.kept]

    @rule(target=leases, salt=SALTS)
    def remove(self, salt: str) -> object:
        """Nothing is found under a salt that was removed."""
        self.tree.remove(salt)
        self.generation[salt] += 1
        assert all(self.found(salt, [key]) == () for key in range(3))
        return multiple()

    @invariant()
    def bounded(self) -> None:
        """At most the capacity is kept, and at least what is leased."""
        leased = {place for _, places in self.out.values() for place in places}
        assert len(leased) <= len(self.tree) <= CAPACITY

    def found(self, salt: str, keys: Sequence[Hashable]) -> tuple[int, ...]:
        lease = self.tree.match(salt, keys)
        places = lease.places
        self.tree.release(lease)
        return places

    def teardown(self) -> None:
        """Once every lease is returned, and nobody has a share any more, a sequence may take every place."""
        for lease in self.out:
            self.tree.release(lease)
        for salt in "ab" * bool(self.others_keep):
            self.tree.remove(salt)
        lease = self.tree.insert("c", range(CAPACITY))
        assert sorted(lease.places) == list(range(CAPACITY))
        self.tree.abandon(lease)
        assert len(self.tree) == 0


class LearningBooks(Books):
    """The same under the eviction that learns."""

    eviction = partial(LeastWorth, CAPACITY)
    others_keep = CAPACITY // 2 // 2  # half of what is shared out between two


SETTINGS = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestBooks = Books.TestCase
TestBooks.settings = SETTINGS
TestLearningBooks = LearningBooks.TestCase
TestLearningBooks.settings = SETTINGS


def keep(tree: PrefixTree, keys: Sequence[Hashable], salt: str = "") -> Lease:
    lease = tree.insert(salt, keys)
    tree.release(lease)
    return lease


def kept(tree: PrefixTree, keys: Sequence[Hashable], salt: str = "") -> int:
    lease = tree.match(salt, keys)
    tree.release(lease)
    return lease.kept


def test_what_another_fills_is_not_found_and_not_filled_twice() -> None:
    """A block is seen by nobody before it is filled; a second filler gets what comes before it."""
    tree = PrefixTree(4, LeastRecentlyUsed())
    keep(tree, "a")
    filling = tree.insert("", "abc")
    assert filling.kept == 1
    assert kept(tree, "abc") == 1
    second = tree.insert("", "abd")
    assert (second.kept, len(second.blocks)) == (1, 1)
    tree.release(second)
    tree.release(filling)
    assert kept(tree, "abc") == 3


def test_ends_of_the_longest_unused_prefix_go_first() -> None:
    """Eviction under LRU takes the end of what was used longest ago, and never what a kept prefix goes through."""
    tree = PrefixTree(5, LeastRecentlyUsed())
    keep(tree, "abc")
    keep(tree, "ax")
    keep(tree, "pq")
    assert [kept(tree, keys) for keys in ("abc", "ax", "pq")] == [2, 2, 2]
    keep(tree, "rst")
    assert [kept(tree, keys) for keys in ("abc", "ax", "pq", "rst")] == [0, 0, 2, 3]


def test_a_removed_salt_frees_its_places_when_its_leases_end() -> None:
    """A lease outlives the removal of its salt; its place is free afterwards."""
    tree = PrefixTree(3, LeastRecentlyUsed())
    keep(tree, "abc", "tenant")
    lease = tree.match("tenant", "ab")
    tree.remove("tenant")
    assert (kept(tree, "ab", "tenant"), len(tree)) == (0, 2)
    tree.release(lease)
    assert len(tree) == 0


def test_a_long_removed_prefix_is_freed_without_recursion() -> None:
    """A prompt of 100,000 blocks can be given up at once."""
    tree = PrefixTree(100_000, LeastRecentlyUsed())
    tree.abandon(tree.insert("", range(100_000)))
    assert len(tree) == 0
