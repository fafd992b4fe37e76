"""Requests on the wire, as the domain takes them."""

import re

from fulcrum.cache.v1 import cache_service_pb2
from fulcrum.embedding.v1 import embedding_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from services.cache.embedding import Embedding
from services.cache.entry import Answer, Partition, Provenance, Selector
from services.cache.leases import is_counted
from services.cache.query import Query, Submission
from services.chassis.call import caller, tenant_of
from services.chassis.errors import InvalidField

_TOKEN = re.compile("[0-9a-f]{1,15}")


def query(request: cache_service_pb2.LookupRequest) -> Query:
    """The query of a lookup, by who asks."""
    who = caller()
    return Query(
        Partition(tenant_of(request.scope.tenant), request.fingerprint),
        request.text,
        embedding(request.embedding) if request.HasField("embedding") else None,
        request.max_wrong_share if request.HasField("max_wrong_share") else None,
        request.max_age.ToNanoseconds() if request.HasField("max_age") else None,
        request.principal if who.trusted else who.principal,
        request.judges and who.trusted,
        is_counted(request.waited_for) and who.trusted,
        not request.only_if_cached,
    )


def submission(request: cache_service_pb2.StoreRequest) -> Submission:
    """What a store brings."""
    answer = request.answer
    cost = answer.cost_nano_usd if answer.HasField("cost_nano_usd") else None
    return Submission(
        Partition(tenant_of(request.scope.tenant), request.fingerprint),
        request.text,
        Answer(answer.text, answer.model, answer.input_tokens, answer.output_tokens, cost),
        embedding(request.embedding) if request.HasField("embedding") else None,
        request.ttl.ToNanoseconds() if request.HasField("ttl") else None,
        request.lookup_id,
        request.request_id,
        Provenance(request.principal, request.caused_by, request.source),
    )


def selector(request: cache_service_pb2.InvalidateRequest) -> Selector:
    """What an invalidation removes."""
    return Selector(
        tenant_of(request.scope.tenant),
        request.entry_id if request.HasField("entry_id") else None,
        request.fingerprint if request.HasField("fingerprint") else None,
        request.model if request.HasField("model") else None,
        _stored_nanoseconds(request.created_before) if request.HasField("created_before") else None,
        _stored_nanoseconds(request.created_from) if request.HasField("created_from") else None,
        request.principal if request.HasField("principal") else None,
    )


def judge(request: cache_service_pb2.FeedbackRequest) -> str | None:
    """The principal whose word a verdict is; None where it is that of our own services."""
    who = caller()
    if not who.trusted:
        return who.principal
    return request.principal if request.HasField("principal") else None


def _stored_nanoseconds(moment: Timestamp) -> int:
    """Nanoseconds as the database can hold them: 64 bits, which end in 1677 and 2262."""
    return max(-(2**63), min(moment.ToNanoseconds(), 2**63 - 1))


def embedding(message: embedding_pb2.Embedding) -> Embedding:
    """A vector on the wire. What is wrong with it the cache tells."""
    return Embedding(message.values, message.dimension, message.encoder_digest, message.truncated)


def place(token: str) -> int:
    """The place of a page token. Raises InvalidField."""
    if not _TOKEN.fullmatch(token):
        raise InvalidField("page_token", f"{len(token)} characters", "the next_page_token of the page before")
    return int(token, 16)
