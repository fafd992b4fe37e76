"""Errors become statuses and come back as the same errors."""

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from services.chassis import errors, status
from tests.unit.chassis.parts import details_of

CLASSES = sorted(status.STATUS, key=lambda cls: cls.__name__)
printable = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


def on_the_wire(error: errors.FulcrumError) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(
        status.code_of(error), grpc.aio.Metadata(), grpc.aio.Metadata(*status.trailers(error)), str(error)
    )


def test_every_error_has_a_status_of_its_own() -> None:
    """The table is complete and can be read backwards."""
    assert set(CLASSES) == set(errors.FulcrumError.__subclasses__())
    assert len(set(status.STATUS.values())) == len(status.STATUS)


@given(
    st.sampled_from(CLASSES),
    printable,
    printable,
    printable,
    st.none() | st.floats(0, 1e6, allow_nan=False),
)
def test_round_trip(
    cls: type[errors.FulcrumError], field: str, value: str, expected: str, retry_after_s: float | None
) -> None:
    """Class, reason, field, value, expectation and retry delay (to the nanosecond) survive the way over the wire."""
    error = cls(field, value, expected, retry_after_s=retry_after_s)
    back = status.error_from(on_the_wire(error), "backend")
    assert type(back) is cls
    assert (back.reason, back.field, back.value, back.expected) == (error.reason, field, error.value, expected)
    assert back.retry_after_s == (None if retry_after_s is None else pytest.approx(retry_after_s, abs=2e-9))
    assert str(back) == str(error)


def test_values_are_cut() -> None:
    """No more than 100 characters of a value travel."""
    assert len(errors.InvalidField("text", "x" * 1000, "less").value) == 100


def test_details_are_the_standard_ones() -> None:
    """ErrorInfo always, BadRequest with every bad field, RetryInfo where a delay is known, nothing else."""
    first, second = errors.InvalidField("a", 1, "two"), errors.InvalidField("b.c[0]", "3 bytes", "four")
    first.others = [second]
    found = details_of(on_the_wire(first))
    assert found.keys() == {"ErrorInfo", "BadRequest"}
    assert found["ErrorInfo"].domain == "fulcrum.dev"
    assert dict(found["ErrorInfo"].metadata) == {"field": "a", "value": "1", "expected": "two"}
    violations = [(one.field, one.description) for one in found["BadRequest"].field_violations]
    assert violations == [("a", "got '1', expected two"), ("b.c[0]", "got '3 bytes', expected four")]
    found = details_of(on_the_wire(errors.Overloaded("queue", 3, "2", retry_after_s=1.5)))
    assert found.keys() == {"ErrorInfo", "RetryInfo"}
    assert found["RetryInfo"].retry_delay.ToNanoseconds() == 1_500_000_000
    assert details_of(on_the_wire(errors.Unavailable("x", 1, "y"))).keys() == {"ErrorInfo"}


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_a_status_without_details_names_the_backend(code: grpc.StatusCode) -> None:
    """A status from elsewhere becomes the class of its code, Unavailable where we have none, with a known reason."""
    bare = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), "connection refused")
    back = status.error_from(bare, "cache")
    expected = next((cls for cls, own in status.STATUS.items() if own is code), errors.Unavailable)
    assert type(back) is expected
    assert (back.field, back.value, back.reason) == ("cache", "connection refused", expected.default_reason)
    silent = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), None)
    assert status.error_from(silent, "cache").value == code.name


def test_foreign_details_are_read_as_far_as_they_go() -> None:
    """A provider's RetryInfo without an ErrorInfo is kept; other details and other trailers are passed over."""
    message = status_pb2.Status(code=8)
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(250)
    message.details.add().Pack(error_details_pb2.DebugInfo(detail="x"))
    message.details.add().Pack(retry)
    trailers = grpc.aio.Metadata(("x-other", "1"), (status.DETAILS_KEY, message.SerializeToString()))
    error = grpc.aio.AioRpcError(grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.aio.Metadata(), trailers, "slow down")
    back = status.error_from(error, "executor")
    assert isinstance(back, errors.Overloaded)
    assert (back.retry_after_s, back.field, back.reason) == (0.25, "executor", "OVERLOADED")


def test_details_that_cannot_be_read_do_not_hide_the_status() -> None:
    """Broken details count as none: the caller still learns the code."""
    trailers = grpc.aio.Metadata((status.DETAILS_KEY, b"\xff\xff\xff"))
    error = grpc.aio.AioRpcError(grpc.StatusCode.NOT_FOUND, grpc.aio.Metadata(), trailers, "nothing there")
    assert isinstance(status.error_from(error, "cache"), errors.NotFound)


@pytest.mark.parametrize(("said", "told"), [("inf", None), ("nan", None), ("-5", 0.0), ("1e300", 32 * 86_400.0)])
def test_a_delay_that_is_none_is_not_passed_on(said: str, told: float | None) -> None:
    """Whatever a provider says, the caller gets a delay that a message can hold, or none."""
    error = errors.Overloaded("provider", "HTTP 429", "less", retry_after_s=float(said))
    assert error.retry_after_s == told
    assert status.error_from(status.raisable(error), "x").retry_after_s == told
