"""From a provider's HTTP answers and failures to our errors."""

import json
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import httpx

from services.chassis.errors import FailedPrecondition, FulcrumError, InvalidField, NotFound, Overloaded, Unavailable

TOO_LONG_CODES = ("context_length_exceeded", "string_above_max_length")


def error_of_status(name: str, status: int, headers: Mapping[str, str], body: bytes, key: str | None) -> FulcrumError:
    """The error that an unsuccessful answer stands for.

    Args:
        name: our name of the model.
        status: HTTP status.
        headers: of the answer, by lower-case name.
        body: of which only a short code is ever passed on.
        key: name of the environment variable that holds the key, if any.
    """
    found = f"HTTP {status} {_code(body)}".strip()
    match status:
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.PAYMENT_REQUIRED | HTTPStatus.FORBIDDEN:
            field, value = f"models.{name}.api_key_env", key or "no key"
            return FailedPrecondition(field, value, "a key the provider accepts", reason="PROVIDER_CREDENTIALS")
        case HTTPStatus.NOT_FOUND:
            return NotFound("model", name, f"a model the provider has ({found})", reason="MODEL_UNKNOWN")
        case HTTPStatus.TOO_MANY_REQUESTS:
            field, expected, wait_s = f"provider of {name}", "a rate within its limit", retry_after_s(headers)
            return Overloaded(field, found, expected, reason="PROVIDER_LIMITED", retry_after_s=wait_s)
        case HTTPStatus.BAD_REQUEST | HTTPStatus.REQUEST_ENTITY_TOO_LARGE | HTTPStatus.UNPROCESSABLE_ENTITY:
            if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or any(code in found for code in TOO_LONG_CODES):
                return InvalidField("messages", found, "a prompt within the model's context", reason="PROMPT_TOO_LONG")
            return InvalidField("request", found, f"a request that the provider of {name} accepts")
    return Unavailable(f"provider of {name}", found, "an answer", retry_after_s=retry_after_s(headers))


def error_of_failure(name: str, error: httpx.HTTPError) -> Unavailable:
    """The error that a failed or broken connection stands for."""
    return Unavailable(f"provider of {name}", type(error).__name__, "a connection that holds until the answer's end")


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds from a Retry-After header, which holds seconds or a date (RFC 9110, section 10.2.3); None without one."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        return float(value)
    except ValueError:
        pass
    try:
        return parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None


def _code(body: bytes) -> str:
    """The provider's short error code; never its message, which may quote the prompt."""
    try:
        error = json.loads(body)["error"]
        return str(error.get("code") or error.get("type") or "")[:60]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
