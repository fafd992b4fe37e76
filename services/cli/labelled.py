"""Reads the files that a cache is warmed up from: labelled pairs, or a log of texts with answers."""

import csv
import gzip
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.chassis.settings import ConfigError

_PAIR, _LOG = ("text_a", "text_b", "label"), ("text", "answer")
_LABELS = {"1": True, "true": True, "same": True, "0": False, "false": False, "different": False}
_MOST_BYTES = 16_384  # of a text, as the contract has it
_KINDS = 'text_a, text_b and label, or text and answer, as {"text_a": "a", "text_b": "b", "label": "same"}'


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts that may, or may not, share an answer."""

    one: str
    other: str
    same: bool


@dataclass(frozen=True, slots=True)
class Logged:
    """A text and what was answered, or a name for it; None shares its answer with no other text."""

    text: str
    answer: str | None


def read_labelled(path: Path) -> list[Pair] | list[Logged]:
    """The rows of a `.jsonl` or `.csv` file, gzipped where its name ends in .gz; all pairs or all logged.

    Raises:
        ConfigError: names file, line, field, value and expectation of the first mistake.
    """
    rows = _rows(path)
    if not rows:
        raise ConfigError(f"{path}: got no rows, expected lines of {_KINDS}")
    fields = _fields(path, *rows[0])
    if fields == _PAIR:
        return [_pair(path, number, row) for number, row in rows]
    return [_logged(path, number, row) for number, row in rows]


def _rows(path: Path) -> list[tuple[int, Mapping[str, Any]]]:
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}, expected UTF-8, gzipped where named .gz") from error
    named = path.with_suffix("") if path.suffix == ".gz" else path
    if named.suffix not in (".jsonl", ".csv"):
        raise ConfigError(f"{path}: got a file named {named.suffix or 'without an ending'}, expected .jsonl or .csv")
    return list((_csv if named.suffix == ".csv" else _jsonl)(path, text))


def _jsonl(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ConfigError(f"{path}, line {number}: got no JSON ({error}), expected {_KINDS}") from error
        if not isinstance(row, dict):
            raise ConfigError(f"{path}, line {number}: got {line.strip()[:60]!r}, expected an object of {_KINDS}")
        yield number, row


def _csv(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), restkey="", strict=True)
    try:
        for row in reader:
            if "" in row:
                expected = f"as many as the header has, {len(reader.fieldnames or ())}"
                raise ConfigError(f"{path}, line {reader.line_num}: got more values, expected {expected}")
            yield reader.line_num, {name: value for name, value in row.items() if value is not None}
    except csv.Error as error:
        raise ConfigError(
            f"{path}, line {reader.line_num}: got no CSV ({error}), expected a header and rows"
        ) from error


def _fields(path: Path, number: int, row: Mapping[str, Any]) -> Sequence[str]:
    for fields in (_PAIR, _LOG):
        if fields[0] in row:
            return fields
    raise ConfigError(f"{path}, line {number}: got the fields {', '.join(map(str, row))}, expected {_KINDS}")


def _pair(path: Path, number: int, row: Mapping[str, Any]) -> Pair:
    label = row.get("label")
    same = _LABELS.get(str(label).strip().lower())
    if same is None:
        told = "1, true or same where both may have one answer, else 0, false or different"
        raise ConfigError(f"{path}, line {number}: label: got {label!r}, expected {told}")
    return Pair(_text(path, number, row, "text_a"), _text(path, number, row, "text_b"), same)


def _logged(path: Path, number: int, row: Mapping[str, Any]) -> Logged:
    answer = row.get("answer", row.get("category", ""))
    if answer is not None and not (isinstance(answer, str) and answer.strip()):
        expected = "a text, or null where no other text has this answer"
        raise ConfigError(f"{path}, line {number}: answer: got {answer!r}, expected {expected}")
    return Logged(_text(path, number, row, "text"), answer and " ".join(answer.split()))


def _text(path: Path, number: int, row: Mapping[str, Any], field: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not value.strip() or len(value.encode(errors="replace")) > _MOST_BYTES:
        told = f"{value!r:.60}" if not isinstance(value, str) or len(value) < _MOST_BYTES else "a longer one"
        expected = f"a text of 1 to {_MOST_BYTES} bytes that is not blank"
        raise ConfigError(f"{path}, line {number}: {field}: got {told}, expected {expected}")
    if not value.isprintable() and any("\ud800" <= character <= "\udfff" for character in value):
        raise ConfigError(f"{path}, line {number}: {field}: got half a character, expected Unicode")
    return value
