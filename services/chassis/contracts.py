"""Whether a message may come in: its size, and the constraints that its contract states."""

import protovalidate
from google.protobuf.message import Message

from services.chassis.errors import InvalidField, Overloaded
from services.chassis.moments import check_moments


class Contracts:
    """Checks messages against the protovalidate constraints of their own descriptors."""

    def __init__(self, max_message_bytes: int) -> None:
        self._max_message_bytes = max_message_bytes
        self._validator = protovalidate.Validator()

    def check(self, request: Message) -> None:
        """Returns where the message may come in.

        Raises:
            Overloaded: it is larger than this server takes.
            InvalidField: it breaks its contract; the first such field, with the others behind it.
        """
        size, limit = request.ByteSize(), self._max_message_bytes
        if size > limit:
            raise Overloaded("message", f"{size} bytes", f"at most {limit} bytes", reason="MESSAGE_TOO_LARGE")
        check_moments(request)
        violations = self._validator.collect_violations(request)
        if violations:
            first, *others = (_invalid_field(violation) for violation in violations)
            first.others = others
            raise first


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
