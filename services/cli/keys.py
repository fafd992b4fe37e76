"""`fulcrum keys`: makes, lists and revokes the API keys of a suite, in the file that its servers read."""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from services.chassis.key_file import Key, KeyFile, KeyFileError
from services.chassis.settings import ConfigError, ServerSettings, load, read_file


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
