"""What fulcrum_client decides without a server: requests, retries, keys in the clear, and what it puts together."""

import datetime
import re
from typing import Any

import grpc
import pytest
from fulcrum.edge.v1 import edge_service_pb2 as edge_pb
from fulcrum.edge.v1 import receipt_pb2
from fulcrum.executor.v1 import chat_pb2, executor_service_pb2
from fulcrum.router.v1 import objective_pb2
from fulcrum_client import Client, InternalError, ResourceExhausted, Retries, Tls, ToolCall, Unavailable
from fulcrum_client.answers import Reading
from fulcrum_client.errors import error_from
from fulcrum_client.exchange import Exchange
from fulcrum_client.requests import Pages, complete_request, usage_request

from services.chassis.errors import Overloaded
from services.chassis.errors import Unavailable as ServerUnavailable
from services.chassis.status import trailers


class Failure(grpc.RpcError):
    """What a call of grpc raises."""

    def __init__(self, code: grpc.StatusCode, metadata: Any = ()) -> None:
        self._code, self._metadata = code, metadata

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return "x"

    def trailing_metadata(self) -> Any:
        return self._metadata


GONE = Failure(grpc.StatusCode.UNAVAILABLE)


def full(retry_after_s: float | None) -> Failure:
    error = Overloaded("requests", "1", "none", retry_after_s=retry_after_s)
    return Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, trailers(error))


def exchange(timeout_s: float = 60, **retries: Any) -> Exchange:
    made = Exchange("id", timeout_s, Retries(**retries))
    made.begin()
    return made


def test_every_option_reaches_its_field() -> None:
    """No option is dropped, none that is left out is sent."""
    request = complete_request(
        "x",
        max_quality_loss=0.0,
        confidence=0.9,
        max_cost_nano_usd=0,
        max_latency_s=1.5,
        allowed_models=["a"],
        denied_models=["b"],
        goal="fastest",
        whole_answer=True,
        max_output_tokens=3,
        temperature=0.0,
        top_p=0.5,
        top_k=4,
        seed=0,
        stop=["."],
        tools=[chat_pb2.Tool(name="t")],
        no_cache=True,
        no_store=True,
        max_age_s=2,
        ttl_s=3,
        only_if_cached=True,
        store_sampled=True,
        session_id="s",
        request_id="r",
    )
    objective, sampling, control = request.objective, request.sampling, request.cache_control
    assert objective.HasField("max_quality_loss")
    assert (objective.confidence, objective.HasField("max_cost_nano_usd")) == (0.9, True)
    assert (objective.max_latency.seconds, objective.max_latency.nanos) == (1, 500_000_000)
    assert (list(objective.allowed_models), list(objective.denied_models)) == (["a"], ["b"])
    assert (objective.goal, objective.whole_answer) == (objective_pb2.GOAL_FASTEST, True)
    assert (sampling.max_output_tokens, sampling.top_p, sampling.top_k, list(sampling.stop)) == (3, 0.5, 4, ["."])
    assert sampling.HasField("temperature")
    assert sampling.HasField("seed")
    assert (control.no_cache, control.no_store, control.max_age.seconds, control.ttl.seconds) == (True, True, 2, 3)
    assert (control.only_if_cached, control.store_sampled) == (True, True)
    assert (request.tools[0].name, request.session_id, request.request_id) == ("t", "s", "r")
    bare = complete_request("x")
    assert re.fullmatch("[0-9a-f]{32}", bare.request_id)
    bare.request_id = ""
    assert (
        bare.SerializeToString()
        == edge_pb.CompleteRequest(
            messages=[chat_pb2.Message(role=chat_pb2.ROLE_USER, content="x")],
            objective={},
            sampling={},
            cache_control={},
        ).SerializeToString()
    )


def test_what_cannot_be_meant_is_named() -> None:
    """A misspelt option and a role that is none."""
    with pytest.raises(TypeError, match="max_quality_los, expected some of max_quality_loss"):
        complete_request("x", max_quality_los=1)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="goal: got 'quick', expected one of cheapest, best, fastest"):
        complete_request("x", goal="quick")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="got 'human', expected one of system"):
        complete_request([("human", "x")])


def test_times_are_utc() -> None:
    """A time without a zone is UTC, one with a zone is what it says."""
    zone = datetime.timezone(datetime.timedelta(hours=2))
    start, end = datetime.datetime(2026, 1, 1), datetime.datetime(2026, 1, 1, 2, tzinfo=zone)
    request = usage_request(start, end, "acme", ["day"])
    assert request.start_time == request.end_time
    assert list(request.group_by) == [edge_pb.USAGE_DIMENSION_DAY]


def test_pages_become_one() -> None:
    """Groups of every page, sums of the last, and no token left."""
    pages = Pages(edge_pb.GetUsageRequest())
    for number, token in enumerate(("a", "b", "")):
        asked = pages.wanted()
        assert asked is not None
        assert asked.page_token == ("", "a", "b")[number]
        group = edge_pb.UsageGroup(model=str(number))
        pages.take(edge_pb.GetUsageResponse(groups=[group], next_page_token=token, total={"requests": 7}))
    assert pages.wanted() is None
    assert [group.model for group in pages.whole.groups] == ["0", "1", "2"]
    assert (pages.whole.total.requests, pages.whole.next_page_token) == (7, "")


def test_pauses() -> None:
    """The server's delay where it gives one; else, for UNAVAILABLE alone, a pause that doubles up to a limit."""
    assert exchange().pause_after(full(0.25)) == 0.25
    assert 0.05 <= exchange().pause_after(GONE) <= 0.15
    late = exchange(attempts=30, longest_pause_s=3.0)
    for _ in range(20):
        late.begin()
    assert 1.0 <= late.pause_after(GONE) <= 3.0
    asked = Failure(
        grpc.StatusCode.UNAVAILABLE, trailers(ServerUnavailable("model", "gone", "one that answers", retry_after_s=2.0))
    )
    assert exchange().pause_after(asked) == 2.0


@pytest.mark.parametrize(
    ("made", "failure"),
    [
        (lambda: exchange(attempts=1), GONE),
        (lambda: exchange(), full(None)),
        (lambda: exchange(), full(86_400.0)),
        (lambda: exchange(timeout_s=0.5), full(1.0)),
        (lambda: exchange(), Failure(grpc.StatusCode.INTERNAL)),
        (lambda: exchange(), Failure(grpc.StatusCode.DEADLINE_EXCEEDED)),
    ],
)
def test_what_is_not_tried_again(made: Any, failure: Failure) -> None:
    """Out of tries, no delay known, too long a delay, no time left, or another status."""
    with pytest.raises(Exception, match=failure.code().name):
        made().pause_after(failure)


def test_nothing_is_tried_again_after_the_first_event() -> None:
    """Text that was shown is not shown twice."""
    begun = exchange()
    begun.answered = True
    with pytest.raises(Unavailable):
        begun.pause_after(GONE)


def test_errors_carry_what_the_server_said() -> None:
    """Field, value, expectation and delay of the server's own trailers; a proxy's trailers do no harm."""
    error = error_from(grpc.StatusCode.RESOURCE_EXHAUSTED, "m", full(1.5).trailing_metadata(), "id")
    assert isinstance(error, ResourceExhausted)
    assert (error.reason, error.field, error.value, error.expected) == ("OVERLOADED", "requests", "1", "none")
    assert (error.retry_after_s, error.request_id) == (1.5, "id")
    damaged = error_from(grpc.StatusCode.UNAVAILABLE, "m", (("grpc-status-details-bin", b"\xff\xff"),))
    assert (type(damaged), damaged.reason, damaged.retry_after_s) == (Unavailable, "", None)


@pytest.mark.parametrize(
    "address", ["fulcrum.example:443", "10.0.0.7:50551", "dns:///fulcrum:50551", "[2001:db8::1]:1"]
)
def test_a_key_does_not_leave_this_machine_in_the_clear(address: str) -> None:
    """Without TLS a key goes to loopback alone, unless the caller says that something else encrypts."""
    with pytest.raises(ValueError, match="expected TLS"):
        Client(address, api_key="fk_secret")
    Client(address).close()
    Client(address, api_key="fk_secret", tls=True).close()
    Client(address, api_key="fk_secret", plaintext_key=True).close()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "localhost:1", "[::1]:1", "ipv4:127.0.0.1:1", "unix:/tmp/x"])
def test_a_key_may_go_to_this_machine(address: str) -> None:
    """Loopback and sockets; no text shows the key."""
    with Client(address, api_key="fk_secret") as client:
        assert "fk_secret" not in repr(client)


def test_half_a_certificate_is_refused() -> None:
    """A certificate without its key, or a key without its certificate."""
    for half in (Tls(certificate="x"), Tls(key="x")):
        with pytest.raises(ValueError, match="expected both or none"):
            Client("127.0.0.1:1", tls=half)


def test_function_calls_are_put_together() -> None:
    """Pieces of several calls, interleaved."""
    reading = Reading()
    pieces = [(0, "a", "f", "{"), (1, "b", "g", "["), (0, "", "", "}"), (1, "", "", "]")]
    for index, call_id, name, arguments in pieces:
        delta = executor_service_pb2.ToolCallDelta(index=index, call_id=call_id, name=name, arguments_json=arguments)
        assert reading.take(edge_pb.CompleteResponse(tool_call_delta=delta)) == ""
    assert reading.tool_calls == (ToolCall("a", "f", "{}"), ToolCall("b", "g", "[]"))
    with pytest.raises(InternalError, match="without a receipt"):
        reading.end()
    reading.take(edge_pb.CompleteResponse(receipt=receipt_pb2.Receipt(model="m")))
    reading.end()
    assert reading.answer.receipt.model == "m"
