"""Whole entries as messages, for export and import."""

from fulcrum.cache.v1 import cache_service_pb2
from fulcrum.embedding.v1 import embedding_pb2

from services.cache.embedding import Embedding
from services.cache.entry import Answer, Entry, NewEntry, Partition, Provenance, Standing
from services.cache.normalise import exact_key
from services.chassis.errors import FulcrumError

_LAST_NS = 2**63 - 1
STANDINGS = {
    Standing.QUARANTINED: cache_service_pb2.STANDING_QUARANTINED,
    Standing.TRUSTED: cache_service_pb2.STANDING_TRUSTED,
    Standing.CONFIRMED: cache_service_pb2.STANDING_CONFIRMED,
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


def stored(entry: Entry, vector: bytes | None, encoder_digest: str) -> cache_service_pb2.StoredEntry:
    """Everything that is kept of an entry."""
    message = cache_service_pb2.StoredEntry(
        scope=cache_service_pb2.Scope(tenant=entry.partition.tenant), entry=listed(entry), answer=answered(entry)
    )
    if vector is not None:
        found = embedding_pb2.Embedding(values=vector, dimension=len(vector) // 4, encoder_digest=encoder_digest)
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


def at(number: int, error: FulcrumError) -> FulcrumError:
    """The error of one entry of an import, its field named from the request."""
    made = type(error)(f"entries[{number}].{error.field}", error.value, error.expected, reason=error.reason)
    return made.with_traceback(error.__traceback__)
