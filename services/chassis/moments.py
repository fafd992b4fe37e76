"""Whether the times in a message are times at all: protobuf parses a Timestamp of any year without a word."""

from functools import lru_cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from services.chassis.errors import InvalidField

_TIMESTAMP, _DURATION = "google.protobuf.Timestamp", "google.protobuf.Duration"
_YEAR_1, _YEAR_9999, _LONGEST, _SECOND = -62_135_596_800, 253_402_300_799, 315_576_000_000, 1_000_000_000
_EXPECTED = {
    _TIMESTAMP: "seconds of the years 1 to 9999, and nanos from 0 to 999999999",
    _DURATION: "seconds of at most 10000 years, and nanos below a second with the same sign",
}


def check_moments(message: Message) -> None:
    """Raises InvalidField where a Timestamp or a Duration is outside of what its type means."""
    _check(message, "")


def _check(message: Any, prefix: str) -> None:
    for field in _holding(message.DESCRIPTOR):
        if field.is_repeated:
            for number, one in enumerate(getattr(message, field.name)):
                _check_one(one, f"{prefix}{field.name}[{number}]")
        elif message.HasField(field.name):
            _check_one(getattr(message, field.name), prefix + field.name)


def _check_one(value: Any, path: str) -> None:
    kind = value.DESCRIPTOR.full_name
    if kind not in _EXPECTED:
        _check(value, f"{path}.")
        return
    seconds, nanos = value.seconds, value.nanos
    if kind == _TIMESTAMP:
        good = _YEAR_1 <= seconds <= _YEAR_9999 and 0 <= nanos < _SECOND
    else:
        good = abs(seconds) <= _LONGEST and abs(nanos) < _SECOND and (seconds >= 0 or nanos <= 0)
        good = good and (seconds <= 0 or nanos >= 0)
    if not good:
        raise InvalidField(path, f"seconds {seconds}, nanos {nanos}", _EXPECTED[kind])


@lru_cache(maxsize=1024)
def _holding(descriptor: Descriptor) -> tuple[FieldDescriptor, ...]:
    """The fields of a message that are or hold such times; maps aside."""
    return tuple(field for field in descriptor.fields if _may_hold(field.message_type, frozenset()))


def _may_hold(kind: Descriptor | None, above: frozenset[str]) -> bool:
    if kind is None or kind.full_name in above or kind.GetOptions().map_entry:
        return False
    if kind.full_name in _EXPECTED:
        return True
    return any(_may_hold(field.message_type, above | {kind.full_name}) for field in kind.fields)
