"""Who runs when: property tests of the scheduler over thousands of passes, without a model."""

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chassis.errors import Overloaded
from services.executor.decoder_session import Chunk
from services.executor.pass_plan import MOST_PADDED, READ_TOKENS_ALONE, plan
from services.executor.scheduler import Scheduler

CAPACITY = 120
LONGEST_WAIT = 2_000  # passes; the longest answer takes 120


@dataclass(eq=False)
class Request:
    """A task whose answer ends after so many tokens."""

    tenant: str
    prompt_size: int
    tokens: list[int]
    output: int
    computed: int = 0
    slot: int | None = None
    turn_began: int = 0
    read_at: int = 0
    resumed: bool = False
    turns: int = 0
    kept: int = 0
    ends: list[str] = field(default_factory=list)
    arrived: int = 0

    def admitted(self) -> None:
        self.resumed = True
        self.turns += 1


def request(tenant: str = "a", prompt: int = 10, output: int = 5) -> Request:
    return Request(tenant, prompt, [1] * prompt, output)


class Machine:
    """A scheduler, a memory that checks what is written into it, and what became of every request."""

    def __init__(self, slots: int, waiting_limit: int, capacity: int = CAPACITY) -> None:
        self.scheduler: Scheduler[Request] = Scheduler("model", slots, capacity, waiting_limit, self)
        self.capacity = capacity
        self.slots = slots
        self.limit = waiting_limit
        self.held = [0] * slots  # tokens that each slot holds
        self.live: list[Request] = []
        self.passes = 0

    def submit(self, one: Request) -> bool:
        try:
            loser = self.scheduler.submit(one)
        except Overloaded:
            return False
        one.arrived = self.passes
        self.live.append(one)
        if loser:
            assert not loser.resumed
            self.end(loser, "lost its place")
        return True

    def end(self, one: Request, how: str) -> None:
        self.scheduler.remove(one)
        one.ends.append(how)
        self.live.remove(one)
        assert one.slot is None

    def run(self, cancelled: float = 0.0, rng: random.Random | None = None) -> list[tuple[Request, Chunk]]:
        """One pass: what it may hold is checked, some are cancelled in its middle, and who is done ends."""
        planned = self.scheduler.schedule()
        self.passes += 1
        self.check(planned)
        for one, _ in planned:
            if rng and rng.random() < cancelled:
                self.end(one, "cancelled in a pass")
        for _, chunk in planned:
            self.held[chunk.slot] = chunk.start + len(chunk.tokens)
        for one, chunk in planned:
            if self.scheduler.advance(one, chunk) and chunk.wants_logits:
                one.tokens.append(2)
                one.output -= 1
                if not one.output or len(one.tokens) > self.capacity:
                    self.end(one, "complete")
        return planned

    def keep(self, task: Request, slot: int, computed: int) -> None:
        assert self.held[slot] == computed
        task.kept = computed // 16 * 16

    def restore(self, task: Request) -> None:
        assert task.computed == 0
        assert task.slot is not None
        if task.kept < task.prompt_size - 1 or task.kept >= task.prompt_size:
            self.held[task.slot] = task.computed = task.kept

    def check(self, planned: list[tuple[Request, Chunk]]) -> None:
        running = self.scheduler.running
        assert len(running) <= self.slots
        assert len({one.slot for one in running}) == len(running)
        assert len(running) + self.scheduler.waiting == len(self.live)
        assert bool(planned) == bool(self.live), "idle although there is work"
        assert len({chunk.slot for _, chunk in planned}) == len(planned)
        width = max((len(chunk.tokens) for _, chunk in planned), default=0)
        for one, chunk in planned:
            assert chunk.start in (0, self.held[chunk.slot])
            assert chunk.tokens == one.tokens[chunk.start : chunk.start + len(chunk.tokens)]
            assert chunk.start + width <= self.capacity, "the kernel refuses a chunk wider than a row has room for"
            assert chunk.wants_logits == (chunk.start + len(chunk.tokens) == len(one.tokens))
            unread = one.prompt_size - chunk.start
            assert len(chunk.tokens) == 1 if unread <= 1 else 1 < len(chunk.tokens) <= unread
            assert unread - len(chunk.tokens) != 1
        assert sum(len(chunk.tokens) for _, chunk in planned) <= READ_TOKENS_ALONE + self.slots
        assert width * (max((chunk.slot for _, chunk in planned), default=0) + 1) <= max(MOST_PADDED, self.slots)


def drive(machine: Machine, rng: random.Random, steps: int, tenants: int, load: float) -> Counter[str]:
    """Random arrivals, lengths and cancellations, then an end to arrivals; how all requests ended."""
    everyone: list[Request] = []
    refused = 0
    for _ in range(steps):
        while rng.random() < load:
            prompt = rng.choice((1, 2, 3, rng.randrange(1, 40), rng.randrange(1, CAPACITY)))
            one = request(f"tenant {min(rng.randrange(tenants), rng.randrange(tenants))}", prompt, rng.randrange(1, 90))
            if machine.submit(one):
                everyone.append(one)
            else:
                refused += 1
                assert machine.scheduler.waiting >= machine.limit
        for one in [one for one in machine.live if rng.random() < 0.003]:
            machine.end(one, "cancelled")
        machine.run(0.002, rng)
        assert all(machine.passes - one.arrived < LONGEST_WAIT for one in machine.live), "starved"
    for _ in range(LONGEST_WAIT):
        if machine.live:
            machine.run()
    assert not machine.live
    assert machine.scheduler.idle
    assert all(len(one.ends) == 1 for one in everyone)
    ends = Counter(one.ends[0] for one in everyone)
    ends.update(refused=refused, preempted=sum(one.turns > 1 for one in everyone))
    return ends


def test_ten_thousand_passes() -> None:
    """No slot leaks, nobody starves, each request ends exactly once, whatever is cancelled, preempted or refused."""
    ends = drive(Machine(slots=6, waiting_limit=12), random.Random(1), 10_000, tenants=5, load=0.16)
    kinds = "complete", "cancelled", "cancelled in a pass", "preempted", "refused", "lost its place"
    assert all(ends[how] > 20 for how in kinds), ends


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32),
    slots=st.integers(1, 40),
    waiting=st.integers(0, 30),
    tenants=st.integers(1, 12),
    load=st.floats(0.02, 0.6),
)
def test_any_load_on_any_machine(seed: int, slots: int, waiting: int, tenants: int, load: float) -> None:
    """The same holds for one slot and for many, for no queue and a long one, for one tenant and a dozen."""
    drive(Machine(slots, waiting), random.Random(seed), 400, tenants, load)


@pytest.mark.parametrize("slots", [1, 3])
def test_tenants_that_always_want_more_are_served_alike(slots: int) -> None:
    """Whether they read or write much, and in whatever they differ, all get about as many tokens."""
    machine, served = Machine(slots, waiting_limit=20), Counter[str]()
    wants = {"reads": (100, 5), "writes": (5, 80), "both": (40, 40), "little": (3, 3)}
    for _ in range(4_000):
        for tenant, (prompt, output) in wants.items():
            while sum(one.tenant == tenant for one in machine.live) < 4:
                assert machine.submit(request(tenant, prompt, output))
        for one, chunk in machine.run():
            served[one.tenant] += len(chunk.tokens)
    assert min(served.values()) > 0.8 * max(served.values()), served


def test_who_comes_late_gets_its_share_from_then_on() -> None:
    """One that was never here is served like those who are, not until it has caught up with all that they ever had."""
    machine, served = Machine(slots=2, waiting_limit=20), Counter[str]()
    for number in range(3_000):
        for tenant in ("first", "second", "late")[: 2 if number < 1_500 else 3]:
            while sum(one.tenant == tenant for one in machine.live) < 4:
                assert machine.submit(request(tenant, 30, 30))
        for one, chunk in machine.run():
            served[one.tenant] += len(chunk.tokens) if number >= 1_500 else 0
    assert max(served.values()) - min(served.values()) <= 4 * CAPACITY, served


def test_those_on_their_way_in_count_as_waiting() -> None:
    """Where another tenant holds most of the line, a flood is let on its way up to an equal share, and no further."""
    machine = Machine(slots=1, waiting_limit=16)
    for _ in range(13):
        machine.submit(request("line"))
    machine.run()
    arriving: Counter[str] = Counter()
    for _ in range(8):
        machine.scheduler.check_room("flood", arriving)
        arriving["flood"] += 1
    with pytest.raises(Overloaded, match="'20 waiting', expected at most 16 beyond free slots"):
        machine.scheduler.check_room("flood", arriving)


@pytest.mark.parametrize("left", [1, 4, 16, 300])
def test_who_is_near_the_end_of_a_context_does_not_stall_readers(left: int) -> None:
    """A long prompt is read in at most about twice the passes, and the others go on in every second one."""
    running = [Request("a", 4, [1] * (512 - left + 1), 1, 512 - left, slot) for slot in range(15)]
    reader = Request("b", 400, [1] * 400, 1, slot=15)
    passes = written = 0
    while reader.computed < 400:
        passes += 1
        for one, chunk in plan([*running, reader], 512, passes):
            if one is reader:
                reader.computed += len(chunk.tokens)
            written += one is running[0]
    assert passes <= 15
    assert written >= passes // 2


def test_a_flood_does_not_refuse_others() -> None:
    """When all places are taken, a tenant below its share gets in, and the one with most in line loses its newest."""
    machine = Machine(slots=1, waiting_limit=4)
    flood = [request("flood") for _ in range(8)]
    taken = [machine.submit(one) for one in flood]
    assert taken == [True] * 5 + [False] * 3
    machine.run()
    mine = [request("small") for _ in range(3)]
    assert [machine.submit(one) for one in mine] == [True, True, False]
    assert [bool(one.ends) for one in flood[:5]] == [False, False, False, True, True]
    assert not machine.submit(request("flood"))


def test_waiting_tenants_take_turns() -> None:
    """One request of a tenant that was served nothing goes before the long line of another."""
    machine = Machine(slots=1, waiting_limit=50)
    line = [request("many") for _ in range(10)]
    for one in line:
        machine.submit(one)
    machine.run()
    single = request("one")
    machine.submit(single)
    while not single.ends:
        machine.run()
    assert sum(bool(one.ends) for one in line) == 1


def test_a_tenant_that_left_is_remembered() -> None:
    """Who took more than those present, left and returned still stands behind one that comes new."""
    machine = Machine(slots=2, waiting_limit=50)
    machine.submit(request("present", 5, 100))
    greedy = request("greedy", 80, 3)
    machine.submit(greedy)
    while not greedy.ends:
        machine.run()
    machine.submit(request("present", 5, 5))
    machine.run()
    back, new = request("greedy", 5, 2), request("new", 5, 2)
    machine.submit(back)
    machine.submit(new)
    while not new.ends:
        machine.run()
    assert back.turns == 0


def test_the_one_slot_is_shared_in_turns() -> None:
    """Where one long answer holds the only slot, another tenant gets it after a turn, and the first one resumes."""
    machine = Machine(slots=1, waiting_limit=5)
    long, short = request("a", 10, 100), request("b", 10, 3)
    machine.submit(long)
    machine.run()
    machine.submit(short)
    while not short.ends:
        machine.run()
    assert machine.passes < 40
    while not long.ends:
        machine.run()
    assert long.turns == 2


@pytest.mark.parametrize(("prompt", "turn"), [(10, 16), (80, 26), (4_000, 256)])
def test_how_long_a_turn_is(prompt: int, turn: int) -> None:
    """A slot is given up after 16 tokens, or a quarter of what must be computed again, but 256 at most."""
    machine = Machine(slots=1, waiting_limit=5, capacity=5_000)
    long, other = request("a", prompt, 600), request("b", 10, 100)
    machine.submit(long)
    machine.run()
    machine.submit(other)
    while not other.turns:
        machine.run()
    assert len(long.tokens) - prompt == turn
    again = len(other.tokens)
    while long.slot is None:
        machine.run()
    assert len(other.tokens) - again >= 16


@pytest.mark.parametrize("first", [80, 5])
def test_who_has_least_to_compute_again_gives_way(first: int) -> None:
    """Of two of a tenant that both had their turn, in whatever order they came."""
    machine = Machine(slots=2, waiting_limit=5)
    pair = {size: request("a", size, 39) for size in (first, 85 - first)}
    for one in pair.values():
        machine.submit(one)
    for _ in range(35):
        machine.run()
    other = request("b", 5, 5)
    machine.submit(other)
    machine.run()
    assert [one.slot is None for one in (pair[5], pair[80], other)] == [True, False, False]


def test_who_gave_way_goes_on_before_its_tenants_others() -> None:
    """It is at the front of its line again, before those that came after it."""
    machine = Machine(slots=1, waiting_limit=5)
    long, behind, other = request("a", 10, 60), request("a", 10, 5), request("b", 10, 3)
    machine.submit(long)
    machine.run()
    machine.submit(behind)
    machine.submit(other)
    while not long.ends:
        assert not behind.turns
        machine.run()
    assert (long.turns, other.ends) == (2, ["complete"])


def test_a_long_prompt_does_not_stall_others() -> None:
    """While a prompt is read, others get a token in every pass, and a short prompt comes first."""
    machine = Machine(slots=3, waiting_limit=5)
    talking = request("a", 4, 60)
    machine.submit(talking)
    machine.run()
    long, short = request("a", 110, 1), request("a", 20, 1)
    machine.submit(long)
    machine.submit(short)
    before = len(talking.tokens)
    passes = 0
    while not short.ends:
        machine.run()
        passes += 1
    assert passes == 1
    while not long.ends:
        machine.run()
        passes += 1
    assert passes <= 3
    assert len(talking.tokens) == before + passes


@pytest.mark.parametrize("limit", [0, 3])
def test_refusals_say_when_to_return(limit: int) -> None:
    """A refusal estimates the wait from how long answers took, and from how many are in line."""
    machine = Machine(slots=2, waiting_limit=limit)
    for _ in range(2 + limit):
        assert machine.submit(request())
    for _ in range(200):
        machine.scheduler.stayed(4.0)
    with pytest.raises(Overloaded) as refused:
        machine.scheduler.check_room("a", Counter())
    assert refused.value.retry_after_s == pytest.approx(4.0 * (2 + limit + 1) / 2, rel=0.01)
