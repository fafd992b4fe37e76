"""Export, import, show and purge: through the contract on both bindings, and through the command."""

import json
from typing import Any

import grpc
import pytest
from fulcrum.cache.v1 import cache_service_pb2 as pb

from services.chassis.settings import ConfigError
from services.cli.cache import _entries
from tests.wire.expect import refused
from tests.wire.suites import Suite
from tests.wire.test_cache import embedded, lookup, store

INVALID = grpc.StatusCode.INVALID_ARGUMENT


async def exported(suite: Suite, tenant: str, size: int = 2) -> list[Any]:
    found: list[Any] = []
    request = pb.ExportEntriesRequest(tenant=tenant, page_size=size)
    while True:
        page = await suite.cache.ExportEntries(request, timeout=5)
        found += page.entries
        request.page_token = page.next_page_token
        if not request.page_token:
            return found


async def test_nothing_is_lost_on_the_way(suite: Suite) -> None:
    """What was exported, removed and imported again is as it was: ids, vectors, provenance, times and hits."""
    tenant = "mover"
    for number in range(5):
        text = f"What is the capital of country {number}?"
        vector = await embedded(suite, text) if number % 2 else None
        request = store(
            text, f"{number}", tenant, embedding=vector, principal=f"key {number}", caused_by="r", source="edge"
        )
        request.ttl.FromSeconds(1000)
        await suite.cache.Store(request, timeout=5)
    await suite.cache.Lookup(lookup("What is the capital of country 1?", tenant), timeout=5)
    before = await exported(suite, tenant)
    assert [entry.entry.hits for entry in before] == [0, 1, 0, 0, 0]
    assert [entry.HasField("embedding") for entry in before] == [False, True, False, True, False]
    await suite.cache.Invalidate(pb.InvalidateRequest(scope=pb.Scope(tenant=tenant), all=True), timeout=5)
    done = await suite.cache.ImportEntries(pb.ImportEntriesRequest(entries=before), timeout=5)
    assert (done.imported, done.present) == (5, 0)
    assert await exported(suite, tenant) == before
    again = await suite.cache.ImportEntries(pb.ImportEntriesRequest(entries=before), timeout=5)
    assert (again.imported, again.present) == (0, 5)
    one = before[3]
    asked = pb.GetEntryRequest(scope=one.scope, entry_id=one.entry.entry_id)
    assert (await suite.cache.GetEntry(asked, timeout=5)).entry == one
    found = await suite.cache.Lookup(lookup(one.entry.text, tenant), timeout=5)
    assert (found.hit.entry_id, found.hit.answer.text) == (one.entry.entry_id, "3")


async def test_ids_of_another_cache_are_kept(suite: Suite) -> None:
    """An entry of another cache is listed, shown and removed under the id that it had there."""
    await suite.cache.Store(store("from elsewhere", "x", "emigrant"), timeout=5)
    (entry,) = await exported(suite, "emigrant")
    entry.scope.tenant, entry.entry.entry_id = "immigrant", "abcdef012345-7"
    await suite.cache.ImportEntries(pb.ImportEntriesRequest(entries=[entry]), timeout=5)
    asked = pb.GetEntryRequest(scope=entry.scope, entry_id="abcdef012345-7")
    assert (await suite.cache.GetEntry(asked, timeout=5)).entry.answer.text == "x"
    purge = pb.InvalidateRequest(scope=entry.scope, entry_id="abcdef012345-7")
    assert (await suite.cache.Invalidate(purge, timeout=5)).removed == 1
    await refused(suite.cache.GetEntry(asked, timeout=5), grpc.StatusCode.NOT_FOUND, "ID_UNKNOWN", "entry_id")


async def test_an_older_answer_does_not_replace_a_newer(suite: Suite) -> None:
    """An import brings nothing back that was answered anew since."""
    await suite.cache.Store(store("renewed", "old", "renewer"), timeout=5)
    old = await exported(suite, "renewer")
    await suite.cache.Store(store("renewed", "new", "renewer"), timeout=5)
    done = await suite.cache.ImportEntries(pb.ImportEntriesRequest(entries=old), timeout=5)
    assert (done.imported, done.present) == (0, 1)
    assert (await suite.cache.Lookup(lookup("renewed", "renewer"), timeout=5)).hit.answer.text == "new"


async def test_the_entry_at_fault_is_named(suite: Suite) -> None:
    """A vector that is none is refused with the place of its entry, those before it are kept."""
    text = "What is the capital of Peru?"
    await suite.cache.Store(store(text, "Lima", "faulty", embedding=await embedded(suite, text)), timeout=5)
    (good,) = await exported(suite, "faulty")
    bad = pb.StoredEntry.FromString(good.SerializeToString())
    bad.scope.tenant = good.scope.tenant = "faulty too"
    bad.entry.text, bad.entry.entry_id, bad.embedding.values = "another", "", bytes(12)
    request = pb.ImportEntriesRequest(entries=[good, bad])
    await refused(
        suite.cache.ImportEntries(request, timeout=5), INVALID, "FIELD_INVALID", "entries[1].embedding.values"
    )
    assert len(await exported(suite, "faulty too")) == 1


async def test_what_may_never_be_stored_is_not_imported(suite: Suite) -> None:
    """Personal data is counted and left out, one from the future is taken for new, and the rest of a file is kept."""
    await suite.cache.Store(store("What is the capital of Chile?", "Santiago", "importer"), timeout=5)
    (good,) = await exported(suite, "importer")
    personal, early = (pb.StoredEntry.FromString(good.SerializeToString()) for _ in range(2))
    personal.entry.text, personal.entry.entry_id = "Mail anna.larsson@example.org about it", ""
    early.entry.text, early.entry.entry_id = "another", ""
    early.entry.create_time.FromSeconds(2**33)
    for entry in (good, personal, early):
        entry.scope.tenant = "importer too"
    done = await suite.cache.ImportEntries(pb.ImportEntriesRequest(entries=[good, personal, early]), timeout=5)
    assert (done.imported, done.present, done.personal_data) == (2, 0, 1)
    kept = await exported(suite, "importer too")
    assert [entry.entry.text for entry in kept] == [good.entry.text, "another"]
    assert kept[1].entry.create_time.seconds < 2**32


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda row: row | {"answer": {"model": "m"}}, "line 3: answer.text"),
        (lambda row: row | {"scope": {}}, "line 3: scope.tenant"),
        (lambda row: row | {"colour": "red"}, "line 3: got .*colour"),
        (lambda row: row | {"entry": {"text": "x"}}, "line 3: entry"),
        (lambda row: [row], "line 3: got"),
        (lambda row: row | {"entry": row["entry"] | {"hits": 2**63 - 1}}, "line 3: entry: .*hits are 0 to 10"),
        (lambda row: row | {"entry": row["entry"] | {"hits": -1}}, "line 3: entry: .*hits are 0 to 10"),
        (lambda row: row | {"entry": row["entry"] | {"entry_id": "x" * 201}}, "line 3: entry: entry_id has at most"),
        (lambda row: row | {"answer": row["answer"] | {"cost_nano_usd": 2**63 - 1}}, "line 3: entry: .*cost_nano_usd"),
    ],
    ids=[
        "no answer",
        "no tenant",
        "unknown field",
        "no fingerprint",
        "no object",
        "many hits",
        "few hits",
        "long id",
        "dear",
    ],
)
def test_a_bad_line_is_named(change: Any, told: str) -> None:
    """Every line is read before one is sent, and the first that is no entry is named by its number and field."""
    row = {
        "scope": {"tenant": "t"},
        "entry": {"text": "x", "fingerprint": "A" * 24, "create_time": "2026-01-01T00:00:00Z"},
        "answer": {"text": "y", "model": "m"},
    }
    good = json.dumps(row).encode()
    assert [number for number, _ in _entries([good, b"", good])] == [1, 3]
    with pytest.raises(ConfigError, match=told):
        list(_entries([good, b"", json.dumps(change(row)).encode()]))


def test_a_line_that_is_no_json() -> None:
    """It is named too, and so are bytes that are no text."""
    for line in (b"{", b"\xff", b"[" * 100_000):
        with pytest.raises(ConfigError, match="line 1"):
            list(_entries([line]))


async def test_entries_are_given_the_vectors_of_another_encoder(suite: Suite) -> None:
    """What has none of the encoder's is listed until it has; the vector at fault is named, those before it are kept."""
    tenant, old = "swapper", "ab" * 32
    texts = [f"How far is planet {number}?" for number in range(3)]
    for text in texts:
        vector = await embedded(suite, text)
        vector.encoder_digest = old
        await suite.cache.Store(store(text, f"of {text}", tenant, embedding=vector), timeout=5)
    vector = await embedded(suite, "Distance of planet 1?")
    asked = lookup("Distance of planet 1?", tenant, embedding=vector)
    assert (await suite.cache.Lookup(asked, timeout=5)).WhichOneof("outcome") == "miss"
    request = pb.ExportEntriesRequest(without_encoder_digest=vector.encoder_digest, page_size=1000)
    entries = [
        one for one in (await suite.cache.ExportEntries(request, timeout=5)).entries if one.scope.tenant == tenant
    ]
    assert [one.entry.text for one in entries] == texts
    vectors = [
        pb.EntryVector(scope=one.scope, entry_id=one.entry.entry_id, embedding=await embedded(suite, one.entry.text))
        for one in entries
    ]
    vectors[2].embedding.values = bytes(12)
    refusal = suite.cache.EmbedEntries(pb.EmbedEntriesRequest(vectors=vectors), timeout=5)
    await refused(refusal, INVALID, "FIELD_INVALID", "vectors[2].embedding.values")
    done = await suite.cache.EmbedEntries(pb.EmbedEntriesRequest(vectors=vectors[:2]), timeout=5)
    assert (done.embedded, done.left) == (0, 2)
    digests = [one.embedding.encoder_digest for one in await exported(suite, tenant)]
    assert digests == [vector.encoder_digest, vector.encoder_digest, old]
    both = pb.ExportEntriesRequest(tenant=tenant, without_encoder_digest=old)
    await refused(suite.cache.ExportEntries(both, timeout=5), INVALID, "FIELD_INVALID", "request")
