"""The errors that a service may answer with, free of any transport, so that domain code can raise them."""

import math
from collections.abc import Sequence
from typing import ClassVar

_LONGEST_RETRY_S = 32 * 86_400.0  # beyond the month that a budget may last


class FulcrumError(Exception):
    """An error whose reason, field, value and expectation reach the caller.

    Args:
        field: dotted path of the request's field, or the name of the part at fault.
        value: what was found there; never a prompt, an answer or a key.
        expected: what would have been right.
        reason: name of a fulcrum.error.v1.ErrorReason without its prefix; a class has its own default.
        retry_after_s: seconds after which a retry may help, 0 to 32 days; None where it is not known to.
    """

    default_reason: ClassVar[str] = "INTERNAL"
    unanswered = False  # whether no server of ours said so: the connection or something between did

    def __init__(
        self,
        field: str,
        value: object,
        expected: str,
        *,
        reason: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        self.field = field
        self.value = str(value)[:100]
        self.expected = expected
        self.reason = reason or self.default_reason
        known = retry_after_s is not None and math.isfinite(retry_after_s)
        self.retry_after_s = min(max(retry_after_s or 0.0, 0.0), _LONGEST_RETRY_S) if known else None
        super().__init__(f"{field}: got {self.value!r}, expected {expected}")

    @property
    def elsewhere(self) -> bool:
        """Whether another replica, or the same one a moment later, may well answer."""
        return self.unanswered or self.reason == "STARTING"


class InvalidField(FulcrumError):
    """A field of the request breaks its constraint; `others` holds further such fields of the same request."""

    default_reason = "FIELD_INVALID"
    others: Sequence["InvalidField"] = ()


class NotFound(FulcrumError):
    """The request names something that is not there."""

    default_reason = "ID_UNKNOWN"


class FailedPrecondition(FulcrumError):
    """The request is well formed but cannot be met by this service as it is; give the `reason`."""

    default_reason = "CAPABILITY_MISSING"


class Unauthenticated(FulcrumError):
    """The caller does not show who it is, or shows what is not known here; give the `reason`."""

    default_reason = "CREDENTIALS_MISSING"


class PermissionDenied(FulcrumError):
    """The caller is known, and may not do this."""

    default_reason = "CALLER_NOT_ALLOWED"


class Overloaded(FulcrumError):
    """A queue is full; carries when to come back."""

    default_reason = "OVERLOADED"


class Unavailable(FulcrumError):
    """A backend or provider cannot be reached or gave up."""

    default_reason = "BACKEND_UNAVAILABLE"


class DeadlineExceeded(FulcrumError):
    """The work did not finish in the caller's time."""

    default_reason = "DEADLINE_EXCEEDED"


class Internal(FulcrumError):
    """A defect of ours, or of a backend; the log has the details."""
