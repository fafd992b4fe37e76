"""`fulcrum keys`: makes, lists and revokes the API keys of a suite, in the file that its servers read."""

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from services.chassis.errors import InvalidField
from services.chassis.key_file import Key, KeyFile, KeyFileError
from services.chassis.settings import ConfigError, ServerSettings, load, read_file
from services.cli.printing import plain, show

_SHORTEST_BEGINNING = 4  # characters of an id, so that a slip revokes nothing


def keys(arguments: argparse.Namespace) -> None:
    """Runs one action on the file of keys."""
    path = arguments.keys or load(ServerSettings, read_file(arguments.config)).identity.keys
    field = "--keys" if arguments.keys else "server.identity.keys"
    if not path.name or (arguments.action != "create" and not path.exists()):
        raise ConfigError(f"{field}: got {str(path)!r}, expected a file of keys; `fulcrum keys create` makes one")
    file, now = KeyFile(path), datetime.now(UTC).replace(microsecond=0)
    try:
        if arguments.action == "create":
            _create(file, path, arguments, now)
        elif arguments.action == "revoke":
            at = now + arguments.after if arguments.after else None
            revoked = file.revoke(_whole(arguments.id, file.listed()), at)
            print(f"{revoked.id} of {revoked.tenant} ends {_shown(revoked.revoke_time)}")
        elif arguments.json:
            print(json.dumps([_record(key, now) for key in file.listed()], indent=2))
        else:
            show(_table(file.listed(), now))
    except KeyFileError as error:
        raise ConfigError(str(error)) from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error


def _create(file: KeyFile, path: Path, arguments: argparse.Namespace, now: datetime) -> None:
    expires, made = now + arguments.expires if arguments.expires else None, not path.exists()
    key, token = file.create(arguments.tenant, arguments.name, arguments.operator, expires)
    print(token)
    until = f"until {_shown(expires)}" if expires else "until it is revoked"
    trust = ", trusted for every tenant" if key.operator else ""
    print(f"key {key.id} of {key.tenant}{trust}, {until}; this is the only time it is shown", file=sys.stderr)
    if made:
        told = f"made {path.absolute()}, which holds its hash; a server reads it where server.identity.keys names it"
    else:
        told = f"{path} holds its hash; servers that read this file know it within a second"
    print(told, file=sys.stderr)


def _whole(beginning: str, listed: list[Key]) -> str:
    """The id that begins so; what no id begins with, or too little, is left as it is, for the file to refuse."""
    found = [key for key in listed if key.id.startswith(beginning) and len(beginning) >= _SHORTEST_BEGINNING]
    if len(found) > 1:
        names = ", ".join(f"{key.id} of {key.tenant}" for key in found)
        raise InvalidField("key", beginning, f"the beginning of one id, not of {len(found)}: {names}")
    return found[0].id if found else beginning


def _record(key: Key, now: datetime) -> dict[str, object]:
    return {**key.model_dump(mode="json", exclude={"sha256"}), "state": key.state(now)}


def _table(found: list[Key], now: datetime) -> Table:
    table = Table(title="keys", title_justify="left")
    for column in ("id", "tenant", "name", "may see", "created", "state"):
        table.add_column(column)
    for key in found:
        table.add_row(
            key.id,
            plain(key.tenant),
            plain(key.name),
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
