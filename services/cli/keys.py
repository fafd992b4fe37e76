"""`fulcrum keys`: makes, lists and revokes the API keys of a suite, in the file that its servers read."""

import argparse
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from services.chassis.key_file import Key, KeyFile, KeyFileError
from services.chassis.settings import ConfigError, ServerSettings, load, read_file

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def add_arguments(parser: argparse.ArgumentParser, default_config: Path | None) -> None:
    """The arguments of `fulcrum keys`."""
    actions = parser.add_subparsers(metavar="action", dest="action", required=True)
    create = actions.add_parser(
        "create", help="make a key and print it, once", description="Makes a key, printed once."
    )
    create.add_argument("--tenant", required=True, help="whose calls, limits and bill the key stands for")
    create.add_argument("--name", default="", help="where it is used, such as ci")
    create.add_argument(
        "--expires", type=_span, metavar="SPAN", help="how long it counts, such as 90d; ever where unset"
    )
    create.add_argument("--operator", action="store_true", help="trusted: may ask about every tenant")
    listing = actions.add_parser("list", help="show every key but its secret", description="Shows every key's record.")
    revoke = actions.add_parser("revoke", help="end a key", description="Ends a key.")
    revoke.add_argument("id", help="as `fulcrum keys list` shows it")
    revoke.add_argument("--in", dest="after", type=_span, metavar="SPAN", help="later, such as 24h: time to rotate")
    for one in (create, listing, revoke):
        one.add_argument("--keys", type=Path, metavar="FILE", help="file of keys (default: server.identity.keys)")
        one.add_argument("--config", type=Path, default=default_config, help="YAML settings (default: %(default)s)")


def keys(arguments: argparse.Namespace) -> None:
    """Runs one action on the file of keys."""
    path = arguments.keys or load(ServerSettings, read_file(arguments.config)).identity.keys
    file, now = KeyFile(path), datetime.now(UTC).replace(microsecond=0)
    try:
        if arguments.action == "create":
            _create(file, path, arguments, now)
        elif arguments.action == "revoke":
            revoked = file.revoke(arguments.id, now + arguments.after if arguments.after else None)
            print(f"{revoked.id} of {revoked.tenant} ends {_shown(revoked.revoke_time)}")
        else:
            Console().print(_table(file.listed(), now))
    except KeyFileError as error:
        raise ConfigError(str(error)) from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error


def _create(file: KeyFile, path: Path, arguments: argparse.Namespace, now: datetime) -> None:
    expires = now + arguments.expires if arguments.expires else None
    key, token = file.create(arguments.tenant, arguments.name, arguments.operator, expires)
    print(token)
    until = f"until {_shown(expires)}" if expires else "until it is revoked"
    trust = ", trusted for every tenant" if key.operator else ""
    print(f"key {key.id} of {key.tenant}{trust}, {until}; this is the only time it is shown", file=sys.stderr)
    print(f"{path} holds its hash; servers that read this file know it within a second", file=sys.stderr)


def _table(found: list[Key], now: datetime) -> Table:
    table = Table(title="keys", title_justify="left")
    for column in ("id", "tenant", "name", "may see", "created", "state"):
        table.add_column(column)
    for key in found:
        table.add_row(
            key.id,
            escape(key.tenant),
            escape(key.name),
            "every tenant" if key.operator else "its tenant",
            _shown(key.create_time),
            _state(key, now),
        )
    return table


def _state(key: Key, now: datetime) -> str:
    state = key.state(now)
    if state != "active":
        return f"{state} {_shown(key.revoke_time if state == 'revoked' else key.expire_time)}"
    ends = [time for time in (key.revoke_time, key.expire_time) if time]
    return f"active until {_shown(min(ends))}" if ends else "active"


def _shown(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC" if time else ""


def _span(text: str) -> timedelta:
    match = re.fullmatch(r"([1-9]\d{0,5})([smhdw])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a number and s, m, h, d or w, such as 90d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
