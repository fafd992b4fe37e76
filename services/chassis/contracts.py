"""Whether a message may come in: its size, and the constraints that its contract states."""

from collections.abc import Callable

import protovalidate
from google.protobuf.message import DecodeError, Message

from services.chassis.errors import InvalidField, Overloaded
from services.chassis.moments import check_moments


class Contracts:
    """Checks messages against the protovalidate constraints of their own descriptors."""

    def __init__(self, max_message_bytes: int) -> None:
        self._max_message_bytes = max_message_bytes
        self._validator = protovalidate.Validator()

    def check(self, request: Message | bytes, parse: Callable[[bytes], Message]) -> Message:
        """The message that may come in; `request` is bytes where it came by a wire.

        Raises:
            Overloaded: it is larger than this server takes.
            InvalidField: it does not parse or breaks its contract; the first such field, with the others behind it.
        """
        size, limit = len(request) if isinstance(request, bytes) else request.ByteSize(), self._max_message_bytes
        if size > limit:
            raise Overloaded("message", f"{size} bytes", f"at most {limit} bytes", reason="MESSAGE_TOO_LARGE")
        message = _parsed(request, parse) if isinstance(request, bytes) else request
        check_moments(message)
        violations = self._validator.collect_violations(message)
        if violations:
            first, *others = (_invalid_field(violation) for violation in violations)
            first.others = others
            raise first
        return message


def _parsed(request: bytes, parse: Callable[[bytes], Message]) -> Message:
    try:
        return parse(request)
    except DecodeError:
        raise InvalidField("message", f"{len(request)} bytes", "the bytes of a request of this method") from None


def _invalid_field(violation: protovalidate.Violation) -> InvalidField:
    path = ""
    for element in violation.proto.field.elements if violation.proto.field else ():
        path += f".{element.field_name}" if path else element.field_name
        if element.subscript is not None:
            path += f"[{element.subscript.value}]"
    value = violation.field_value
    if isinstance(value, str | bytes):
        value = f"{len(value)} {'characters' if isinstance(value, str) else 'bytes'}"
    elif hasattr(value, "__len__"):
        value = f"{len(value)} items"
    elif value is None or isinstance(value, Message):
        value = "this" if value is None else type(value).__name__
    return InvalidField(path or "request", value, violation.proto.message or violation.proto.rule_id)
