"""The servicer: nothing before start, a bounded queue, pages by an opaque token, every field on the wire."""

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from fulcrum.cache.v1 import cache_service_pb2 as pb
from fulcrum.embedding.v1 import embedding_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from services.cache.__main__ import assemble
from services.cache.entry import Entry
from services.cache.leases import Leases
from services.cache.scope_memory import Promise
from services.cache.service import CacheServicer
from services.cache.worker import Worker
from services.chassis.call import LOCAL, Call, Caller, enter
from services.chassis.errors import InvalidField, Overloaded, Unavailable
from tests.unit.cache.parts import DIGEST, embedding, open_cache, settings

CONTEXT: Any = None
SCOPE = pb.Scope(tenant="acme")
FINGERPRINT = bytes(16)


def vector(cosine: float = 1.0) -> embedding_pb2.Embedding:
    made = embedding(cosine)
    return embedding_pb2.Embedding(values=made.values, dimension=made.dimension, encoder_digest=DIGEST)


def store(text: str, **fields: Any) -> pb.StoreRequest:
    answer = pb.Answer(text="Paris", model="m", input_tokens=3, output_tokens=1, cost_nano_usd=0)
    return pb.StoreRequest(scope=SCOPE, fingerprint=FINGERPRINT, text=text, answer=answer, **fields)


def lookup(text: str, **fields: Any) -> pb.LookupRequest:
    return pb.LookupRequest(scope=SCOPE, fingerprint=FINGERPRINT, text=text, **fields)


def large(number: int) -> pb.StoreRequest:
    """A prompt of 300 kB with an answer of 600 kB."""
    made = store(f"{number} " + "word " * 60_000)
    made.answer.text = "x" * 600_000
    return made


@pytest.fixture
def servicer(tmp_path: Path) -> CacheServicer:
    made = CacheServicer(Worker(8), Leases(settings(tmp_path)))
    made.open(open_cache(tmp_path))
    return made


async def test_every_field_of_a_hit(servicer: CacheServicer) -> None:
    """An answer comes back as it was stored, with kind, age and the time it was made; a cost of zero is not unset."""
    stored = await servicer.Store(store("What is the capital of France?", embedding=vector()), CONTEXT)
    asked = lookup("Name the capital of France.", embedding=vector(0.9))
    hit = (await servicer.Lookup(asked, CONTEXT)).hit
    assert hit.kind == pb.MATCH_KIND_SEMANTIC
    assert hit.entry_id == stored.entry_id
    assert (hit.answer.text, hit.answer.model, hit.answer.input_tokens, hit.answer.output_tokens) == (
        "Paris",
        "m",
        3,
        1,
    )
    assert hit.answer.HasField("cost_nano_usd")
    assert hit.answer.create_time.seconds > 0
    assert hit.similarity == pytest.approx(0.9, abs=1e-6)


async def test_who_waited_and_was_counted_is_counted_once(servicer: CacheServicer) -> None:
    """A second look for a lease whose name says that its caller is on the books adds no request; another one does."""
    await servicer.Store(store("What is the capital of France?", embedding=vector()), CONTEXT)
    for waited_for, requests in (("", 1), ("lease+", 1), ("lease", 2)):
        asked = lookup("Name the capital of France.", embedding=vector(0.9), waited_for=waited_for)
        await servicer.Lookup(asked, CONTEXT)
        (promise,) = (await servicer.Stats(pb.StatsRequest(), CONTEXT)).promises
        assert promise.requests == requests


@pytest.mark.parametrize(
    ("caller", "claimed", "confirms"),
    [
        (LOCAL, None, True),
        (LOCAL, "a", False),
        (LOCAL, "b", True),
        (Caller("acme", "a", False), "b", False),
        (Caller("acme", "b", False), "a", True),
    ],
    ids=["a service", "of its own", "of another", "its own under another's name", "another under the owner's name"],
)
async def test_whose_word_a_verdict_is(tmp_path: Path, caller: Caller, claimed: str | None, confirms: bool) -> None:
    """Our services tell for whom they speak; a tenant's own call is its own word, whatever it says."""
    servicer = CacheServicer(Worker(8), Leases(settings(tmp_path)))
    servicer.open(open_cache(tmp_path, confirmed_for_trust=1))
    await servicer.Store(store("x", principal="a"), CONTEXT)
    found = await servicer.Lookup(lookup("x", principal="a"), CONTEXT)
    verdict = pb.FeedbackRequest(scope=SCOPE, lookup_id=found.lookup_id, verdict=pb.VERDICT_RIGHT, principal=claimed)
    enter(Call("r", time.monotonic() + 10, caller))
    await servicer.Feedback(verdict, CONTEXT)
    enter(None)
    served = await servicer.Lookup(lookup("x", principal="c"), CONTEXT)
    assert served.WhichOneof("outcome") == ("hit" if confirms else "miss")


async def test_pages_fit_a_message(servicer: CacheServicer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long prompts make pages shorter, none is left out, and no read holds much more than a page, answers included."""
    for number in range(8):
        await servicer.Store(large(number), CONTEXT)
    page, read = servicer._cache.kept.page, []

    def counting(*asked: Any) -> list[Entry]:
        entries = page(*asked)
        read.append(sum(entry.size for entry in entries))
        return entries

    monkeypatch.setattr(servicer._cache.kept, "page", counting)
    seen: list[str] = []
    token = ""
    while True:
        listed = await servicer.ListEntries(pb.ListEntriesRequest(scope=SCOPE, page_token=token), CONTEXT)
        assert listed.ByteSize() < 1 << 20
        seen += [entry.text.split()[0] for entry in listed.entries]
        token = listed.next_page_token
        if not token:
            break
    assert seen == [*"76543210"]
    assert max(read) < 2 << 20


async def test_pages_by_token(servicer: CacheServicer) -> None:
    """The last page has no token; a token that was never given is refused."""
    for number in range(4):
        await servicer.Store(store(f"x{number}"), CONTEXT)
    seen, token = [], ""
    for _ in range(2):
        page = await servicer.ListEntries(pb.ListEntriesRequest(scope=SCOPE, page_size=2, page_token=token), CONTEXT)
        seen += [entry.text for entry in page.entries]
        token = page.next_page_token
    assert (seen, token) == (["x3", "x2", "x1", "x0"], "")
    for bad in ("?", "-1", "f" * 200, "0x5", " 5"):
        with pytest.raises(InvalidField) as caught:
            await servicer.ListEntries(pb.ListEntriesRequest(scope=SCOPE, page_token=bad), CONTEXT)
        assert caught.value.field == "page_token"


async def test_a_long_prompt_leaves_the_loop_free(servicer: CacheServicer) -> None:
    """A prompt of the largest size is normalised beside the event loop, and found."""
    prompt = "é and more " * 90_000
    await servicer.Store(store(prompt), CONTEXT)
    begin = time.thread_time()
    found = await servicer.Lookup(lookup(prompt + " "), CONTEXT)
    assert time.thread_time() - begin < 0.02
    assert found.WhichOneof("outcome") == "hit"


async def test_many_promises_leave_the_loop_free(servicer: CacheServicer, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are worked out beside the event loop."""
    where: list[threading.Thread] = []

    def promises() -> list[Promise]:
        where.append(threading.current_thread())
        return []

    monkeypatch.setattr(servicer._cache, "promises", promises)
    await servicer.Stats(pb.StatsRequest(), CONTEXT)
    assert where != [threading.current_thread()]


async def test_before_start_and_after_close(tmp_path: Path) -> None:
    """Before start no file is touched and calls are told to come back; closing twice harms nothing."""
    made = settings(tmp_path)
    component = assemble(made)
    assert not made.database.exists()
    with pytest.raises(Unavailable):
        await CacheServicer(Worker(1), Leases(made)).Stats(pb.StatsRequest(), CONTEXT)
    await component.start()
    assert made.database.exists()
    await component.close()
    unstarted = assemble(made)
    await unstarted.close()


async def test_a_full_queue_rejects_at_once() -> None:
    """Beyond the limit a job is refused with a time to come back; the queue drains and takes jobs again."""
    worker, gate = Worker(2), threading.Event()
    running = [asyncio.ensure_future(worker.run(gate.wait)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as caught:
        await worker.run(gate.wait)
    assert caught.value.retry_after_s
    gate.set()
    assert await asyncio.gather(*running) == [True, True]
    await asyncio.sleep(0.01)
    assert await worker.run(int, "3") == 3
    await worker.close()


async def test_a_caller_who_gives_up_does_not_undo(servicer: CacheServicer) -> None:
    """A store whose caller is cancelled is either whole or not begun, and the servicer goes on."""
    for number in range(20):
        task = asyncio.ensure_future(servicer.Store(store(f"x{number}"), CONTEXT))
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await servicer.Store(store("last"), CONTEXT)
    listed = await servicer.ListEntries(pb.ListEntriesRequest(scope=SCOPE), CONTEXT)
    stats = await servicer.Stats(pb.StatsRequest(), CONTEXT)
    assert len(listed.entries) == stats.entries >= 1
    for entry in listed.entries:
        assert (await servicer.Lookup(lookup(entry.text), CONTEXT)).WhichOneof("outcome") == "hit"


@pytest.mark.parametrize(("before", "removed"), [(253_402_300_799, 1), (-62_135_596_800, 0)])
async def test_invalidate_takes_every_time_there_is(servicer: CacheServicer, before: int, removed: int) -> None:
    """The ends of a Timestamp's range, beyond what the database can hold, come before everything or after it."""
    await servicer.Store(store("What is the capital of France?"), CONTEXT)
    request = pb.InvalidateRequest(scope=SCOPE, created_before=Timestamp(seconds=before))
    assert (await servicer.Invalidate(request, CONTEXT)).removed == removed
