"""What the eviction learns, on synthetic traces that are drawn with a seed."""

import random
from collections import deque
from collections.abc import Sequence

import pytest

from benchmarks.prefix_policies import Belady, LeastRecentlyUsed
from services.executor.idle_blocks import IdleBlocks
from services.executor.prefix_eviction import LeastWorth
from services.executor.prefix_tree import Block, Eviction, PrefixTree

CAPACITY = 400


def ratio(requests: Sequence[Sequence[int]], eviction: Eviction) -> float:
    tree = PrefixTree(CAPACITY, eviction)
    found = 0
    for keys in requests:
        lease = tree.match("", keys)
        found += lease.kept
        tree.release(lease)
        tree.release(tree.insert("", keys))
    return found / sum(map(len, requests))


def conversations(seed: int, turns: float, single: float, gap: int) -> list[list[int]]:
    """Requests, of which `single` never come back and the others go on, `gap` requests later on average."""
    draw = random.Random(seed)
    fresh = iter(range(1, 10**9))
    going: deque[tuple[int, list[int]]] = deque()
    requests = []
    for now in range(6_000):
        due = next((one for one in going if one[0] <= now), None)
        if due:
            going.remove(due)
            prompt = due[1] + [next(fresh) for _ in range(3)]
            stays = draw.random() < turns
        else:
            stays = draw.random() >= single
            prompt = [0] + [next(fresh) for _ in range(draw.randint(2, 5) if stays else draw.randint(8, 16))]
        requests.append(prompt)
        if stays:
            going.append((now + int(draw.expovariate(1 / gap)) + 1, prompt))
    return requests


@pytest.mark.parametrize("seed", [1, 2])
def test_learns_which_prompts_come_back(seed: int) -> None:
    """Where long prompts come once and short ones go on, it finds a fifth more than LRU does."""
    requests = conversations(seed, turns=0.8, single=0.7, gap=60)
    ours, lru = ratio(requests, LeastWorth(CAPACITY)), ratio(requests, LeastRecentlyUsed())
    assert ours > 1.2 * lru
    assert ours < ratio(requests, Belady(requests))


@pytest.mark.parametrize("gap", [5, 30, 300])
def test_is_no_worse_than_lru_where_there_is_nothing_to_learn(gap: int) -> None:
    """Where kinds tell nothing, it finds what LRU finds, to a few in a hundred."""
    requests = conversations(3, turns=0.5, single=0.5, gap=gap)
    assert ratio(requests, LeastWorth(CAPACITY)) > 0.97 * ratio(requests, LeastRecentlyUsed())


def test_follows_when_habits_change() -> None:
    """What was learned of one kind of traffic does not spoil the next for long."""
    before = conversations(4, turns=0.8, single=0.7, gap=60)
    after = [[-key for key in prompt] for prompt in conversations(5, turns=0.3, single=0.1, gap=20)]
    lru = ratio(before + after, LeastRecentlyUsed())
    assert ratio(before + after, LeastWorth(CAPACITY)) > lru


def test_a_request_that_grows_is_not_a_return() -> None:
    """The answer of a prompt joins it without counting as its conversation's next turn."""
    tree = PrefixTree(100, LeastWorth(100))
    tree.release(tree.insert("", range(10)))
    grown = tree.insert("", range(20), grown=True)
    tree.release(grown)
    assert {block.turn for block in grown.blocks} == {1}
    following = tree.insert("", range(30))
    assert [block.turn for block in following.blocks] == [1] * 20 + [2] * 10
    tree.release(following)


def test_idle_blocks_stay_few_when_they_come_and_go() -> None:
    """Blocks that are given up leave nothing behind, and the oldest of the others is known."""
    idle = IdleBlocks()
    blocks = [Block(key, None, key) for key in range(10)]
    for block in blocks:
        block.last_use = -block.place
        idle.add(block)
    for _ in range(10_000):
        idle.discard(blocks[9])
        idle.add(blocks[9])
    assert idle.oldest() is blocks[9]
    idle.discard(blocks[9])
    assert idle.oldest() is blocks[8]
    assert len(idle._heap) < 200
