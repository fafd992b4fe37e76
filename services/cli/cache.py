"""`fulcrum cache`: lists, shows, removes, moves and re-embeds what a running cache keeps, and warms it up."""

import argparse
import re
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import protovalidate
from fulcrum.cache.v1 import cache_service_pb2 as pb
from google.protobuf.json_format import MessageToJson, Parse, ParseError
from rich.table import Table

from services.chassis.errors import FailedPrecondition, FulcrumError, InvalidField
from services.chassis.settings import ConfigError
from services.cli.asking import suite
from services.cli.client import Client
from services.cli.printing import plain, show
from services.cli.reembedding import reembed
from services.cli.warming import warm

_BATCH, _BATCH_BYTES = 500, 1 << 20
_SHOWN_CHARACTERS = 60
_EXPECTED = "expected a file that `fulcrum cache export` wrote"
_ENTRY = re.compile(r"entries\[(\d+)\]\.?(.*)")


async def cache(arguments: argparse.Namespace) -> None:
    """Runs one action."""
    async with suite(arguments) as asked:
        await _ACTIONS[arguments.action](asked, arguments)


async def _list(asked: Client, arguments: argparse.Namespace) -> None:
    found: list[pb.Entry] = []
    request = pb.ListEntriesRequest(scope=pb.Scope(tenant=arguments.tenant))
    while len(found) < arguments.limit:
        request.page_size = min(arguments.limit - len(found), 1000)
        page = await asked.entries(request)
        found += page.entries
        request.page_token = page.next_page_token
        if not request.page_token:
            break
    if arguments.json:
        for entry in found:
            print(_line(entry))
    else:
        show(_table(found))


async def _show(asked: Client, arguments: argparse.Namespace) -> None:
    scope = pb.Scope(tenant=arguments.tenant)
    entry = await asked.entry(pb.GetEntryRequest(scope=scope, entry_id=arguments.id))
    entry.ClearField("embedding")
    print(MessageToJson(entry, preserving_proto_field_name=True, ensure_ascii=False))


async def _purge(asked: Client, arguments: argparse.Namespace) -> None:
    told = (arguments.id, arguments.principal, arguments.model, arguments.older, arguments.younger)
    if not arguments.all and all(one is None for one in told):
        raise ConfigError("purge: got no condition, expected --id, --principal, --model, --older, --younger or --all")
    request = pb.InvalidateRequest(
        scope=pb.Scope(tenant=arguments.tenant),
        entry_id=arguments.id,
        principal=arguments.principal,
        model=arguments.model,
        all=arguments.all,
    )
    for age, moment in ((arguments.older, request.created_before), (arguments.younger, request.created_from)):
        if age is not None:
            moment.FromNanoseconds(time.time_ns() - round(age.total_seconds() * 1e9))
    print(f"{await asked.purge(request)} entries removed")


async def _export(asked: Client, arguments: argparse.Namespace) -> None:
    async for entry in asked.export(arguments.tenant or ""):
        print(_line(entry))


async def _import(asked: Client, arguments: argparse.Namespace) -> None:
    """Reads every line before the first is sent, so that a file with a mistake changes nothing."""
    found = list(_entries(_content(arguments.file).splitlines()))
    if not found:
        raise ConfigError(f"{arguments.file}: got no entries, {_EXPECTED}")
    imported = present = personal = 0
    for first, batch in _batches(found):
        try:
            done = await asked.take_in(pb.ImportEntriesRequest(entries=batch))
        except (InvalidField, FailedPrecondition) as error:
            raise _of_line(error, first) from error
        imported, present, personal = imported + done.imported, present + done.present, personal + done.personal_data
    print(f"{imported} entries imported, {present} were there already or have a newer answer")
    if personal:
        print(f"{personal} hold personal data and were not kept")


def _content(file: Path) -> bytes:
    """What a file holds, or standard input for "-"; ConfigError where it cannot be read."""
    try:
        return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file}: got {error.strerror}, {_EXPECTED}") from error


def _entries(lines: Iterable[bytes]) -> Iterator[tuple[int, pb.StoredEntry]]:
    """Line numbers and entries. Raises ConfigError for a line that is none."""
    validator = protovalidate.Validator()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = Parse(line, pb.StoredEntry())
            validator.validate(entry)
        except (ParseError, UnicodeDecodeError, RecursionError) as error:
            problem = " ".join(str(error).split())[:200]
            raise ConfigError(f"line {number}: got {problem}, expected an entry of an export") from error
        except protovalidate.ValidationError as error:
            broken = error.violations[0].proto
            elements = broken.field.elements if broken.field else ()
            field = ".".join(element.field_name for element in elements) or "entry"
            raise ConfigError(f"line {number}: {field}: {broken.message}") from error
        yield number, entry


def _batches(found: list[tuple[int, pb.StoredEntry]]) -> Iterator[tuple[list[int], list[pb.StoredEntry]]]:
    """Line numbers and entries, as many as fit a message."""
    numbers: list[int] = []
    entries: list[pb.StoredEntry] = []
    room = _BATCH_BYTES
    for number, entry in found:
        if entries and (len(entries) == _BATCH or entry.ByteSize() > room):
            yield numbers, entries
            numbers, entries, room = [], [], _BATCH_BYTES
        numbers.append(number)
        entries.append(entry)
        room -= entry.ByteSize()
    if entries:
        yield numbers, entries


def _of_line(error: FulcrumError, numbers: list[int]) -> FulcrumError:
    """The error of one entry, by the line that it stands in; the lines before it are kept."""
    match = _ENTRY.fullmatch(error.field)
    field = f"line {numbers[int(match[1])]}: {match[2]}" if match else error.field
    return type(error)(field, error.value, error.expected, reason=error.reason)


def _line(message: pb.Entry | pb.StoredEntry) -> str:
    return MessageToJson(message, preserving_proto_field_name=True, indent=None, ensure_ascii=False)


def _table(found: list[pb.Entry]) -> Table:
    table = Table(title="entries", title_justify="left")
    for heading in ("id", "made", "prompt", "model", "bytes", "hits", "caused by", "served to"):
        table.add_column(heading)
    for one in found:
        text = " ".join(one.text.split())
        table.add_row(
            one.entry_id,
            f"{one.create_time.ToDatetime():%Y-%m-%d %H:%M:%S}",
            plain(text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."),
            plain(one.model),
            f"{one.size_bytes}",
            f"{one.hits}",
            plain(one.principal),
            "its principal" if one.standing == pb.STANDING_QUARANTINED else "its tenant",
        )
    return table


_ACTIONS = {
    "ls": _list,
    "show": _show,
    "purge": _purge,
    "export": _export,
    "import": _import,
    "reembed": reembed,
    "warm": warm,
}
