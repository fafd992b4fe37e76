"""Entries and what lookups find, as messages."""

from collections.abc import Sequence
from dataclasses import asdict

from fulcrum.cache.v1 import cache_service_pb2
from fulcrum.embedding.v1 import embedding_pb2

from services.cache.brake import Braked
from services.cache.challenger import VerifierStanding
from services.cache.decision import MissReason
from services.cache.embedding import Embedding
from services.cache.entry import Answer, Entry, NewEntry, Partition, Provenance, Standing
from services.cache.leases import Found, Lease
from services.cache.normalise import exact_key
from services.cache.query import Audit, MatchKind, Miss, Stats, Wait
from services.cache.scope_memory import Promise
from services.cache.warm_up import Example, Nearby
from services.chassis.errors import FulcrumError, InvalidField
from services.chassis.tracing import annotate

_LAST_NS = 2**63 - 1
STANDINGS = {
    Standing.QUARANTINED: cache_service_pb2.STANDING_QUARANTINED,
    Standing.TRUSTED: cache_service_pb2.STANDING_TRUSTED,
    Standing.CONFIRMED: cache_service_pb2.STANDING_CONFIRMED,
}
_REASONS = {
    MissReason.EMPTY: cache_service_pb2.MISS_REASON_EMPTY,
    MissReason.NOT_EXACT: cache_service_pb2.MISS_REASON_NOT_EXACT,
    MissReason.NOT_NEAR: cache_service_pb2.MISS_REASON_NOT_NEAR,
    MissReason.VETOED: cache_service_pb2.MISS_REASON_VETOED,
    MissReason.TRUNCATED: cache_service_pb2.MISS_REASON_TRUNCATED,
    MissReason.LANGUAGE: cache_service_pb2.MISS_REASON_LANGUAGE,
    MissReason.BRAKED: cache_service_pb2.MISS_REASON_BRAKED,
}
_KINDS = {
    MatchKind.EXACT: cache_service_pb2.MATCH_KIND_EXACT,
    MatchKind.SEMANTIC: cache_service_pb2.MATCH_KIND_SEMANTIC,
}
_SAME = {
    cache_service_pb2.VERDICT_UNSPECIFIED: None,
    cache_service_pb2.VERDICT_RIGHT: True,
    cache_service_pb2.VERDICT_WRONG: False,
}
_VERIFIERS = {
    VerifierStanding.NONE: cache_service_pb2.VERIFIER_STANDING_NONE,
    VerifierStanding.CHALLENGES: cache_service_pb2.VERIFIER_STANDING_CHALLENGES,
    VerifierStanding.DECIDES: cache_service_pb2.VERIFIER_STANDING_DECIDES,
}
_BRAKES = {
    Braked.OFF: cache_service_pb2.BRAKE_OFF,
    Braked.UNTOLD: cache_service_pb2.BRAKE_UNTOLD,
    Braked.WRONG: cache_service_pb2.BRAKE_WRONG,
}
_STANDINGS = {message: standing for standing, message in STANDINGS.items()}


def listed(entry: Entry) -> cache_service_pb2.Entry:
    """What is known of an entry, without its answer."""
    message = cache_service_pb2.Entry(
        entry_id=entry.entry_id,
        text=entry.text,
        fingerprint=entry.partition.fingerprint,
        model=entry.answer.model,
        hits=entry.hits,
        principal=entry.provenance.principal,
        caused_by=entry.provenance.request_id,
        source=entry.provenance.source,
        standing=STANDINGS[entry.standing],
        size_bytes=entry.size,
    )
    message.create_time.FromNanoseconds(entry.create_ns)
    if entry.expire_ns is not None:
        message.expire_time.FromNanoseconds(entry.expire_ns)
    return message


def answered(entry: Entry) -> cache_service_pb2.Answer:
    """An entry's answer."""
    answer = entry.answer
    message = cache_service_pb2.Answer(
        text=answer.text,
        model=answer.model,
        input_tokens=answer.input_tokens,
        output_tokens=answer.output_tokens,
        cost_nano_usd=answer.cost_nano_usd,
    )
    message.create_time.FromNanoseconds(entry.create_ns)
    return message


def found(found: Found | Wait, lease: Lease | None = None) -> cache_service_pb2.LookupResponse:
    """What a lookup found, and the lease that was granted with it."""
    if isinstance(found, Wait):
        annotate({"fulcrum.cache.outcome": "wait"})
        response = cache_service_pb2.LookupResponse(wait=cache_service_pb2.Wait(lease_id=found.lease_id))
        response.wait.retry_after.FromNanoseconds(round(found.retry_after_s * 1e9))
        return response
    response = cache_service_pb2.LookupResponse(lookup_id=found.lookup_id)
    if lease is not None:
        response.lease_lapses_after.FromNanoseconds(round(lease.lasts_s * 1e9))
    if isinstance(found, Miss):
        annotate({"fulcrum.cache.outcome": f"miss: {found.reason.value}"})
        response.miss.reason = _REASONS[found.reason]
        response.miss.explanation = found.explanation
        response.miss.lease_id = lease.lease_id if lease else ""
        return response
    if isinstance(found, Audit):
        annotate({"fulcrum.cache.outcome": "audit" if found.would_be_hit else "near miss"})
        audit = response.audit
        audit.propensity, audit.explanation, audit.entry_id = found.propensity, found.explanation, found.entry.entry_id
        audit.would_be_hit = found.would_be_hit
        audit.lease_id = lease.lease_id if lease else ""
        audit.answer.CopyFrom(answered(found.entry))
        return response
    annotate({"fulcrum.cache.outcome": f"{found.kind.value} hit"})
    entry, hit = found.entry, response.hit
    hit.kind = _KINDS[found.kind]
    hit.probability, hit.entry_id = found.probability, entry.entry_id
    hit.similarity = min(found.similarity, 1.0)  # in half precision it may be a little more
    hit.age.FromNanoseconds(max(found.age_ns, 0))
    hit.explanation = found.explanation
    hit.answer.CopyFrom(answered(entry))
    return response


def stored(entry: Entry, vector: bytes | None) -> cache_service_pb2.StoredEntry:
    """Everything that is kept of an entry."""
    message = cache_service_pb2.StoredEntry(
        scope=cache_service_pb2.Scope(tenant=entry.partition.tenant), entry=listed(entry), answer=answered(entry)
    )
    if vector is not None:
        found = embedding_pb2.Embedding(values=vector, dimension=len(vector) // 4, encoder_digest=entry.encoder)
        message.embedding.CopyFrom(found)
    return message


def imported(message: cache_service_pb2.StoredEntry) -> tuple[NewEntry, Embedding | None]:
    """An entry to take in, and its embedding."""
    entry, said = message.entry, message.answer
    partition = Partition(message.scope.tenant, entry.fingerprint)
    cost = said.cost_nano_usd if said.HasField("cost_nano_usd") else None
    expires = entry.HasField("expire_time")
    new = NewEntry(
        exact_key(partition, entry.text),
        partition,
        entry.text,
        Answer(said.text, said.model, said.input_tokens, said.output_tokens, cost),
        None,
        min(max(entry.create_time.ToNanoseconds(), 0), _LAST_NS),
        min(max(entry.expire_time.ToNanoseconds(), 0), _LAST_NS) if expires else None,
        provenance=Provenance(entry.principal, entry.caused_by, entry.source or "import"),
        standing=_STANDINGS.get(entry.standing, Standing.TRUSTED),
        entry_id=entry.entry_id,
        hits=max(entry.hits, 0),
    )
    if not message.HasField("embedding"):
        return new, None
    vector = message.embedding
    return new, Embedding(vector.values, vector.dimension, vector.encoder_digest, vector.truncated)


def examples(request: cache_service_pb2.WarmUpRequest) -> list[Example]:
    """The examples of a warm-up. Raises InvalidField for a neighbour that does not come before its example."""
    for number, one in enumerate(request.examples):
        for place, near in enumerate(one.nearest):
            if near.example >= number:
                field = f"examples[{number}].nearest[{place}].example"
                raise InvalidField(field, near.example, f"the place of an earlier example, less than {number}")
    return [
        Example(
            one.text,
            one.answer,
            tuple(Nearby(near.example, near.similarity, _SAME[near.verdict]) for near in one.nearest),
        )
        for one in request.examples
    ]


def promised(promise: Promise) -> cache_service_pb2.Promise:
    """Where a tenant's promise stands."""
    standings = {"verifier": _VERIFIERS[promise.verifier], "brake": _BRAKES[promise.brake]}
    return cache_service_pb2.Promise(**asdict(promise) | standings)


def counted(stats: Stats, promises: Sequence[Promise]) -> cache_service_pb2.StatsResponse:
    """Counts and sizes, and where each tenant's promise stands."""
    return cache_service_pb2.StatsResponse(
        exact_hits=stats.exact_hits,
        semantic_hits=stats.semantic_hits,
        misses=stats.misses,
        entries=stats.entries,
        bytes=stats.bytes,
        encoder_digest=stats.encoder_digest,
        evictions=stats.evictions,
        saved_nano_usd=stats.saved_nano_usd,
        audits=stats.audits,
        promises=[promised(promise) for promise in promises],
    )


def at(place: str, error: FulcrumError) -> FulcrumError:
    """The error of one of many, its field named from the request."""
    made = type(error)(f"{place}.{error.field}", error.value, error.expected, reason=error.reason)
    return made.with_traceback(error.__traceback__)
