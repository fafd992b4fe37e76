"""CacheService, the same on both bindings."""

import asyncio
import dataclasses
from typing import Any

import grpc
import numpy as np
import pytest
from fulcrum.cache.v1 import cache_service_pb2 as pb
from fulcrum.embedding.v1 import embedding_pb2, embedding_service_pb2

from tests.wire.expect import refused
from tests.wire.suites import MAX_MESSAGE_BYTES, Suite

INVALID = grpc.StatusCode.INVALID_ARGUMENT
FINGERPRINT = bytes(32)


async def embedded(suite: Suite, text: str) -> embedding_pb2.Embedding:
    response = await suite.embedding.Embed(embedding_service_pb2.EmbedRequest(texts=[text]), timeout=30)
    embedding: embedding_pb2.Embedding = response.embeddings[0]
    return embedding


def lookup(text: str, tenant: str = "conformance", **fields: Any) -> pb.LookupRequest:
    fields = {"fingerprint": FINGERPRINT, **fields}
    return pb.LookupRequest(scope=pb.Scope(tenant=tenant), text=text, **fields)


def store(text: str, answer: str, tenant: str = "conformance", **fields: Any) -> pb.StoreRequest:
    fields = {"fingerprint": FINGERPRINT, **fields}
    return pb.StoreRequest(
        scope=pb.Scope(tenant=tenant),
        text=text,
        answer=pb.Answer(text=answer, model="m", input_tokens=5, output_tokens=2, cost_nano_usd=10),
        **fields,
    )


async def test_exact_hit_after_store(suite: Suite) -> None:
    """What was stored is found by the same text but for white space, by nobody else's tenant or fingerprint."""
    missed = await suite.cache.Lookup(lookup("What  is 2 + 2?"), timeout=5)
    assert missed.WhichOneof("outcome") == "miss"
    assert missed.miss.explanation
    await suite.cache.Store(store("What is 2 + 2?", "4", lookup_id=missed.lookup_id), timeout=5)
    found = await suite.cache.Lookup(lookup(" What is 2 + 2? \n"), timeout=5)
    assert (found.hit.answer.text, found.hit.kind, found.hit.probability) == ("4", pb.MATCH_KIND_EXACT, 1.0)
    assert found.hit.answer.cost_nano_usd == 10
    for other in (lookup("What is 2 + 2?", "other"), lookup("What is 2 + 2?", fingerprint=b"f" * 32)):
        assert (await suite.cache.Lookup(other, timeout=5)).WhichOneof("outcome") == "miss"


async def test_semantic_hit_and_veto(suite: Suite) -> None:
    """A paraphrase is served, a near question with another answer is not."""
    asked, said = "What is the capital of France?", "Tell me the capital city of France."
    await suite.cache.Store(store(asked, "Paris", embedding=await embedded(suite, asked)), timeout=5)
    found = await suite.cache.Lookup(lookup(said, embedding=await embedded(suite, said)), timeout=5)
    assert found.WhichOneof("outcome") == "hit", found
    assert (found.hit.answer.text, found.hit.kind) == ("Paris", pb.MATCH_KIND_SEMANTIC)
    assert 0 < found.hit.similarity <= 1
    assert 0 < found.hit.probability < 1
    for other in ("What is the capital of Greece?", "What is not the capital of France?"):
        missed = await suite.cache.Lookup(lookup(other, embedding=await embedded(suite, other)), timeout=5)
        assert missed.WhichOneof("outcome") == "miss", (other, missed)


async def test_a_lease_keeps_twins_waiting_until_it_ends(suite: Suite) -> None:
    """The second who misses waits for the first; a store, or who holds the lease, ends it, and it can be renewed."""
    asked = lookup("leased", lease=True)
    first = await suite.cache.Lookup(asked, timeout=5)
    assert first.miss.lease_id
    assert first.lease_lapses_after.ToMilliseconds() == 3000
    second = await suite.cache.Lookup(asked, timeout=5)
    assert second.wait.lease_id == first.miss.lease_id
    assert 0 < second.wait.retry_after.ToMilliseconds() <= 500
    assert (await suite.cache.Lookup(lookup("leased"), timeout=5)).WhichOneof("outcome") == "miss"
    hold = pb.HoldLeaseRequest(scope=pb.Scope(tenant="conformance"), lease_id=first.miss.lease_id)
    assert (await suite.cache.HoldLease(hold, timeout=5)).held
    hold.end = True
    assert not (await suite.cache.HoldLease(hold, timeout=5)).held
    asked.waited_for = first.miss.lease_id
    third = await suite.cache.Lookup(asked, timeout=5)
    assert third.miss.lease_id != first.miss.lease_id
    await suite.cache.Store(store("leased", "x", lookup_id=third.lookup_id), timeout=5)
    assert (await suite.cache.Lookup(asked, timeout=5)).hit.answer.text == "x"


async def test_repeated_store_keeps_its_first_answer(suite: Suite) -> None:
    """A Store with a request_id that was seen returns the first entry."""
    first = await suite.cache.Store(store("once", "1", request_id="r-1"), timeout=5)
    again = await suite.cache.Store(store("once", "1", request_id="r-1"), timeout=5)
    assert first.entry_id == again.entry_id


async def test_feedback_withdraws(suite: Suite) -> None:
    """A wrong answer is not served again; nobody can judge another tenant's lookup or an unknown one."""
    await suite.cache.Store(store("withdraw me", "wrong"), timeout=5)
    found = await suite.cache.Lookup(lookup("withdraw me"), timeout=5)

    def verdict(tenant: str, lookup_id: str) -> pb.FeedbackRequest:
        scope = pb.Scope(tenant=tenant)
        return pb.FeedbackRequest(scope=scope, lookup_id=lookup_id, verdict=pb.VERDICT_WRONG, source="test")

    for bad in (verdict("other", found.lookup_id), verdict("conformance", "never")):
        await refused(suite.cache.Feedback(bad, timeout=5), grpc.StatusCode.NOT_FOUND, "ID_UNKNOWN", "lookup_id")
    await suite.cache.Feedback(verdict("conformance", found.lookup_id), timeout=5)
    assert (await suite.cache.Lookup(lookup("withdraw me"), timeout=5)).WhichOneof("outcome") == "miss"


async def test_lists_and_invalidates(suite: Suite) -> None:
    """Entries are listed newest first in pages, and removed by id, fingerprint or whole scope."""
    for number in range(5):
        await suite.cache.Store(store(f"entry {number}", "x", "lister"), timeout=5)
    scope = pb.Scope(tenant="lister")
    seen: list[str] = []
    token = ""
    while True:
        page = await suite.cache.ListEntries(
            pb.ListEntriesRequest(scope=scope, page_size=2, page_token=token), timeout=5
        )
        seen += [entry.text for entry in page.entries]
        token = page.next_page_token
        if not token:
            break
    assert seen == [f"entry {number}" for number in (4, 3, 2, 1, 0)]
    one = page.entries[0].entry_id
    removed = await suite.cache.Invalidate(pb.InvalidateRequest(scope=scope, entry_id=one), timeout=5)
    assert removed.removed == 1
    rest = await suite.cache.Invalidate(pb.InvalidateRequest(scope=scope, all=True), timeout=5)
    assert rest.removed == 4
    bad = pb.ListEntriesRequest(scope=scope, page_token="?")
    await refused(suite.cache.ListEntries(bad, timeout=5), INVALID, "FIELD_INVALID", "page_token")
    none = pb.InvalidateRequest(scope=scope)
    await refused(suite.cache.Invalidate(none, timeout=5), INVALID, "FIELD_INVALID", "request")


async def test_expires(suite: Suite) -> None:
    """An entry is not served beyond its ttl, nor beyond the caller's max_age."""
    short = store("short lived", "x")
    short.ttl.FromMilliseconds(80)
    await suite.cache.Store(short, timeout=5)
    assert (await suite.cache.Lookup(lookup("short lived"), timeout=5)).WhichOneof("outcome") == "hit"
    await suite.cache.Store(store("aged", "x"), timeout=5)
    await asyncio.sleep(0.1)
    assert (await suite.cache.Lookup(lookup("short lived"), timeout=5)).WhichOneof("outcome") == "miss"
    young = lookup("aged")
    young.max_age.FromMilliseconds(50)
    assert (await suite.cache.Lookup(young, timeout=5)).WhichOneof("outcome") == "miss"


async def test_stats_count(suite: Suite) -> None:
    """Hits, misses and entries are counted."""
    await suite.cache.Store(store("sweeps what has expired", "x"), timeout=5)
    before = await suite.cache.Stats(pb.StatsRequest(), timeout=5)
    await suite.cache.Store(store("counted", "x"), timeout=5)
    await suite.cache.Lookup(lookup("counted"), timeout=5)
    await suite.cache.Lookup(lookup("not there"), timeout=5)
    after = await suite.cache.Stats(pb.StatsRequest(), timeout=5)
    assert after.exact_hits - before.exact_hits == 1
    assert after.misses - before.misses == 1
    assert after.entries - before.entries == 1
    assert after.bytes > before.bytes


@dataclasses.dataclass(frozen=True)
class BadVector:
    """A change that makes a good embedding bad, and how it is refused."""

    change: dict[str, Any]
    code: grpc.StatusCode
    reason: str
    field: str


@pytest.mark.parametrize(
    "bad",
    [
        BadVector({"values": bytes(4 * 383)}, INVALID, "FIELD_INVALID", "embedding.values"),
        BadVector({"values": np.full(384, np.nan, "<f4").tobytes()}, INVALID, "FIELD_INVALID", "embedding.values"),
        BadVector({"dimension": 0}, INVALID, "FIELD_INVALID", "embedding.dimension"),
        BadVector({"encoder_digest": "nonsense"}, INVALID, "FIELD_INVALID", "embedding.encoder_digest"),
    ],
    ids=lambda bad: f"{bad.reason}-{next(iter(bad.change))}",
)
async def test_bad_vectors(suite: Suite, bad: BadVector) -> None:
    """A vector of wrong length, not a number, or of no encoder is refused by Lookup and Store; nothing is kept."""
    text = "seed for the index"
    vector = await embedded(suite, text)
    await suite.cache.Store(store(text, "x", embedding=vector), timeout=5)
    before = await suite.cache.Stats(pb.StatsRequest(), timeout=5)
    for field, value in bad.change.items():
        setattr(vector, field, value)
    wrong = lookup("other text", embedding=vector), store("other text", "x", embedding=vector)
    await refused(suite.cache.Lookup(wrong[0], timeout=5), bad.code, bad.reason, bad.field)
    await refused(suite.cache.Store(wrong[1], timeout=5), bad.code, bad.reason, bad.field)
    assert (await suite.cache.Stats(pb.StatsRequest(), timeout=5)).entries == before.entries


async def test_refusals(suite: Suite) -> None:
    """No scope, an empty prompt, a short fingerprint, an impossible bound, an oversize message."""
    look = suite.cache.Lookup
    no_scope = pb.LookupRequest(fingerprint=FINGERPRINT, text="x")
    await refused(look(no_scope, timeout=5), INVALID, "FIELD_INVALID", "scope")
    await refused(look(lookup(""), timeout=5), INVALID, "FIELD_INVALID", "text")
    await refused(look(lookup("x", fingerprint=b"short"), timeout=5), INVALID, "FIELD_INVALID", "fingerprint")
    await refused(look(lookup("x", max_wrong_share=1.5), timeout=5), INVALID, "FIELD_INVALID", "max_wrong_share")
    big = lookup("x" * MAX_MESSAGE_BYTES)
    await refused(look(big, timeout=5), grpc.StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE", "message")
    await refused(suite.cache.Store(store("x", ""), timeout=5), INVALID, "FIELD_INVALID", "answer.text")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await look(lookup("late"), timeout=-1)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
