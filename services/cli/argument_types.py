"""What values on the command line may be: each type names the value it refuses, and what it expects."""

import argparse
import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LAST_PORT = 65_535
_LONGEST_STOP = 200  # characters
_LARGEST_SCHEMA = 65_536  # bytes
N = TypeVar("N", int, float)


def text(value: str) -> str:
    """Text that can be sent, which bytes of another encoding than UTF-8 cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"got {value!r}, expected UTF-8") from None
    return value


def filled(value: str) -> str:
    """Text that is not empty."""
    if not text(value):
        raise argparse.ArgumentTypeError("got '', expected at least one character")
    return value


def said(value: str) -> str:
    """Text with more than white space."""
    if not text(value).strip():
        raise argparse.ArgumentTypeError(f"got {value!r}, expected a text with more than white space")
    return value


def stop(value: str) -> str:
    """A text that ends an answer."""
    if not 0 < len(text(value)) <= _LONGEST_STOP:
        raise argparse.ArgumentTypeError(f"got {value[:50]!r}, expected 1 to {_LONGEST_STOP} characters")
    return value


def schema(value: str) -> str:
    """The JSON schema in a file."""
    try:
        content = Path(value).read_bytes()
        found = json.loads(content.decode())
    except OSError as error:
        raise argparse.ArgumentTypeError(
            f"got {value!r}, expected a file with a JSON schema: {error.strerror}"
        ) from None
    except (ValueError, RecursionError) as error:  # of JSON and of UTF-8
        raise argparse.ArgumentTypeError(f"got {value!r}, expected a file with a JSON schema: {error}") from None
    if not isinstance(found, dict) or len(content) > _LARGEST_SCHEMA:
        shown = f"{type(found).__name__} of {len(content)} bytes"
        raise argparse.ArgumentTypeError(f"got {shown} in {value!r}, expected an object of at most {_LARGEST_SCHEMA}")
    return content.decode()


def address(value: str) -> str:
    """Where a server is, as gRPC writes it."""
    for one in text(value).split(","):
        port = re.search(r":(\d+)$", one)
        if not re.fullmatch(r"\S+", one) or (port and not 0 < int(port[1][:9]) <= _LAST_PORT):
            expected = f"host:port, a port of at most {_LAST_PORT}, dns:///name:port or unix:path"
            raise argparse.ArgumentTypeError(f"got {value!r}, expected {expected}")
    return value


def whole(least: int, most: int) -> Callable[[str], int]:
    """Whole numbers within bounds."""
    return _within(int, "a whole number", least, most)


def number(least: float, most: float) -> Callable[[str], float]:
    """Numbers within bounds."""
    return _within(float, "a number", least, most)


def _within(kind: Callable[[str], N], noun: str, least: N, most: N) -> Callable[[str], N]:
    def read(value: str) -> N:
        try:
            found = kind(value)
        except ValueError:
            found = None
        if found is None or not least <= found <= most:  # nan is nowhere
            raise argparse.ArgumentTypeError(f"got {value!r}, expected {noun} from {least} to {most}")
        return found

    return read


def dimensions(value: str) -> list[str]:
    """What sums are split by."""
    names = value.split(",")
    if not set(names) <= {"tenant", "model", "day"} or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"got {value!r}, expected tenant, model and day, with commas between")
    return names


def span(value: str) -> timedelta:
    """A time such as 90d."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})([smhdw])", value)
    if match is None:
        expected = "a whole number from 1 to 99999 and s, m, h, d or w, such as 90d"
        raise argparse.ArgumentTypeError(f"got {value!r}, expected {expected}")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
