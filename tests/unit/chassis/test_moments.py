"""Times that mean nothing are refused where the message comes in, wherever they sit in it."""

import pytest
from fulcrum.cache.v1 import cache_service_pb2 as cache_pb
from fulcrum.edge.v1 import edge_service_pb2 as edge_pb
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from services.chassis.contracts import Contracts
from services.chassis.errors import InvalidField
from services.chassis.moments import check_moments


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (cache_pb.InvalidateRequest(created_before=Timestamp(seconds=2**63 - 1)), "created_before"),
        (edge_pb.GetUsageRequest(end_time=Timestamp(nanos=-1)), "end_time"),
        (edge_pb.CompleteRequest(cache_control={"ttl": Duration(seconds=2**60)}), "cache_control.ttl"),
        (edge_pb.CompleteRequest(objective={"max_latency": Duration(seconds=1, nanos=-1)}), "objective.max_latency"),
        (
            cache_pb.ListEntriesResponse(
                entries=[cache_pb.Entry(), cache_pb.Entry(create_time=Timestamp(nanos=2 * 10**9))]
            ),
            "entries[1].create_time",
        ),
    ],
)
def test_what_is_no_time_is_named(message: Message, field: str) -> None:
    """The error names the field by its path, and says what was found and expected."""
    with pytest.raises(InvalidField) as caught:
        check_moments(message)
    assert caught.value.field == field
    assert "seconds" in caught.value.value
    assert "nanos" in caught.value.expected


def test_true_times_and_messages_without_any_pass() -> None:
    """The ends of both ranges are times; a type that holds itself does not send the check in circles."""
    check_moments(cache_pb.InvalidateRequest(created_before=Timestamp(seconds=253_402_300_799, nanos=999_999_999)))
    check_moments(edge_pb.CompleteRequest(objective={"max_latency": Duration(seconds=-1, nanos=-1)}))
    check_moments(edge_pb.CompleteRequest())
    check_moments(Struct())


def test_the_contracts_check_refuses_it() -> None:
    """What the guard asks of every message includes it."""
    request = cache_pb.InvalidateRequest(scope={"tenant": "x"}, created_before=Timestamp(seconds=2**62))
    with pytest.raises(InvalidField, match="created_before"):
        Contracts(1 << 20).check(request, cache_pb.InvalidateRequest.FromString)
