"""No answer ever crosses tenants, model policies, system prompts, tools or sampling: checked against a plain dict."""

import hashlib
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.cache.entry import Partition, Selector
from services.cache.query import Hit, MatchKind
from tests.unit.cache.parts import SECOND_NS, Clock, ServeNearest, ask, embedding, keep, open_cache, purged, served


def fingerprint(parts: tuple[str, ...]) -> bytes:
    return hashlib.sha256("\0".join(parts).encode()).digest()


settings_of_a_request = st.tuples(
    st.sampled_from(["cheapest", "strong"]),
    st.sampled_from(["", "Be brief.", "Be brief. "]),
    st.sampled_from(["", "search(q)"]),
    st.sampled_from(["temperature=0", "temperature=1"]),
)
partitions = st.builds(
    Partition, st.sampled_from(["acme", "acm", "acmee", "ACME"]), settings_of_a_request.map(fingerprint)
)
texts = st.sampled_from(["What is 2 + 2?", "What is 2 + 3?", "what is 2 + 2?"])


class Isolation(RuleBasedStateMachine):
    """All vectors are equal and the nearest entry is always served, so only the partition keeps entries apart."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = Clock()
        self.cache = open_cache(self.folder, self.clock, ServeNearest, ttl_s=None)
        self.model: dict[tuple[Partition, str], tuple[str, int]] = {}
        self.stored = 0

    def live(self, partition: Partition) -> dict[str, str]:
        return {
            text: said
            for (where, text), (said, end) in self.model.items()
            if where == partition and self.clock.now_ns < end
        }

    @rule(partition=partitions, text=texts, ttl_s=st.sampled_from([1, 1000]), with_vector=st.booleans())
    def store(self, partition: Partition, text: str, ttl_s: int, with_vector: bool) -> None:
        self.stored += 1
        said = f"answer {self.stored}"
        vector = embedding() if with_vector else None
        self.cache.store(keep(text, said, partition=partition, embedding=vector, ttl_ns=ttl_s * SECOND_NS))
        end = self.clock.now_ns + ttl_s * SECOND_NS
        former_end = self.model.get((partition, text), ("", 0))[1]
        if former_end <= max(end, self.clock.now_ns):
            self.model[partition, text] = said, end

    @rule(partition=partitions, text=texts)
    def look_up_exactly(self, partition: Partition, text: str) -> None:
        assert served(self.cache.lookup(ask(text, partition=partition))) == self.live(partition).get(text)

    @rule(partition=partitions, text=texts)
    def look_up_semantically(self, partition: Partition, text: str) -> None:
        found = self.cache.lookup(ask(text, partition=partition, embedding=embedding()))
        known = self.live(partition)
        if text in known:
            assert isinstance(found, Hit)
            assert (found.kind, served(found)) == (MatchKind.EXACT, known[text])
        elif isinstance(found, Hit):
            assert found.entry.partition == partition
            assert known[found.entry.text] == served(found)

    @rule(partition=partitions, text=texts)
    def withdraw(self, partition: Partition, text: str) -> None:
        found = self.cache.lookup(ask(text, partition=partition))
        if isinstance(found, Hit):
            self.cache.judge(partition.tenant, found.lookup_id, right=False)
            del self.model[partition, text]

    @rule(partition=partitions, whole_tenant=st.booleans())
    def invalidate(self, partition: Partition, whole_tenant: bool) -> None:
        selector = Selector(partition.tenant, fingerprint=None if whole_tenant else partition.fingerprint)
        purged(self.cache, selector)
        for where, text in list(self.model):
            if where == partition or (whole_tenant and where.tenant == partition.tenant):
                del self.model[where, text]

    @rule(seconds=st.sampled_from([0.5, 1.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def restart(self) -> None:
        self.cache.close()
        self.cache = open_cache(self.folder, self.clock, ServeNearest, ttl_s=None)

    @invariant()
    def listed_per_tenant(self) -> None:
        for tenant in ("acme", "acm"):
            listed = {(entry.partition, entry.text) for entry in self.cache.kept.page(tenant, 2**62, 1000)}
            assert listed == {
                key for key, (_, end) in self.model.items() if key[0].tenant == tenant and self.clock.now_ns < end
            }

    def teardown(self) -> None:
        self.cache.close()
        shutil.rmtree(self.folder)


Isolation.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestIsolation = Isolation.TestCase
