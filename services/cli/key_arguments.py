"""The command line of `fulcrum keys`, apart from what runs it, so that reading arguments loads no library."""

import argparse
import re
from datetime import timedelta
from pathlib import Path

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def add_key_arguments(parser: argparse.ArgumentParser, default_config: Path | None) -> None:
    """Adds create, list and revoke."""
    actions = parser.add_subparsers(metavar="action", dest="action", required=True)
    create = actions.add_parser("create", help="make a key, printed once", description="Makes a key, printed once.")
    create.add_argument("--tenant", required=True, help="whose calls, limits and bill the key stands for")
    create.add_argument("--name", default="", help="where it is used, such as ci")
    create.add_argument("--expires", type=span, metavar="SPAN", help="how long it counts, such as 90d (default: ever)")
    create.add_argument("--operator", action="store_true", help="trusted: may ask about every tenant")
    listing = actions.add_parser("list", help="show every key but its secret", description="Shows every key's record.")
    revoke = actions.add_parser("revoke", help="end a key", description="Ends a key.")
    revoke.add_argument("id", help="as `fulcrum keys list` shows it")
    revoke.add_argument("--in", dest="after", type=span, metavar="SPAN", help="later, such as 24h: time to rotate")
    for one in (create, listing, revoke):
        one.add_argument("--keys", type=Path, metavar="FILE", help="file of keys (default: server.identity.keys)")
        one.add_argument("--config", type=Path, default=default_config, help="YAML settings (default: %(default)s)")


def span(text: str) -> timedelta:
    """A time such as 90d; raises argparse's error where it is none."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})([smhdw])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a number and s, m, h, d or w, such as 90d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
