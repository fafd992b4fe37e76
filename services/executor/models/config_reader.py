"""Reads the values of a model folder's JSON files strictly: each has a type and a range, or the model is refused."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.executor.models.checkpoint import InvalidCheckpoint

LONGEST_QUOTE = 80


@dataclass(frozen=True)
class ConfigReader:
    """The keys of one JSON object; null counts as absent, and an absent key without a default is refused.

    Args:
        path: the file, for messages.
        values: the object.
        within: what stands before its keys in messages, such as `rope_scaling.`.
    """

    path: Path
    values: Mapping[str, Any]
    within: str = ""

    def integer(self, key: str, least: int, most: int, default: int | None = None) -> int:
        """An integer of `least` to `most`, as JSON writes one: no fraction, no truth value."""
        found: int = self._value(
            key, default, f"an integer of {least} to {most}", lambda value: _is_integer(value, least, most)
        )
        return found

    def number(self, key: str, least: float, most: float, default: float | None = None) -> float:
        """A finite number of `least` to `most`."""

        def holds(value: Any) -> bool:
            return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most

        return float(self._value(key, default, f"a number of {least:g} to {most:g}", holds))

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        return self._value(key, default, "true or false", lambda value: isinstance(value, bool)) is True

    def text(self, key: str, default: str | None = None) -> str:
        """A text."""
        return str(self._value(key, default, "a text", lambda value: isinstance(value, str)))

    def choice(self, key: str, options: Collection[str], default: str | None = None) -> str:
        """One of the texts in `options`."""
        expected = f"one of {', '.join(options)}"
        return str(self._value(key, default, expected, lambda value: isinstance(value, str) and value in options))

    def choices(self, key: str, options: Collection[str], length: int) -> Sequence[str]:
        """A list of `length` texts, each one of `options`."""

        def holds(value: Any) -> bool:
            return (
                isinstance(value, list)
                and len(value) == length
                and all(isinstance(one, str) and one in options for one in value)
            )

        found: list[str] = self._value(key, None, f"a list of {length}, each one of {', '.join(options)}", holds)
        return found

    def token_ids(self, key: str, most: int) -> frozenset[int]:
        """The token ids under a key that holds one, a list of them or nothing; each of 0 to `most`."""

        def holds(value: Any) -> bool:
            return all(_is_integer(one, 0, most) for one in _listed(value))

        return frozenset(_listed(self._value(key, [], f"token ids of 0 to {most}", holds)))

    def section(self, key: str) -> "ConfigReader":
        """The object under a key; an empty one where it is absent."""
        found = self._value(key, {}, "an object", lambda value: isinstance(value, dict))
        return ConfigReader(self.path, found, f"{self.within}{key}.")

    def has(self, key: str) -> bool:
        """Whether the key is there and not null."""
        return self.values.get(key) is not None

    def refuse(self, key: str, expected: str) -> InvalidCheckpoint:
        """The error that names the key, its value and what is expected of it."""
        name = f"{self.path}: {self.within}{key}"
        if not self.has(key):
            return InvalidCheckpoint(f"{name} is missing, expected {expected}")
        quoted = repr(self.values[key])
        shown = quoted if len(quoted) <= LONGEST_QUOTE else f"{quoted[:LONGEST_QUOTE]}..."
        return InvalidCheckpoint(f"{name} is {shown}, expected {expected}")

    def _value(self, key: str, default: Any, expected: str, holds: Callable[[Any], bool]) -> Any:
        if not self.has(key) and default is not None:
            return default
        if not self.has(key) or not holds(self.values[key]):
            raise self.refuse(key, expected)
        return self.values[key]


def _is_integer(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
