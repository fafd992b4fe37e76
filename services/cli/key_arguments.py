"""The command line of `fulcrum keys`, apart from what runs it, so that reading arguments loads no library."""

import argparse
from pathlib import Path

from services.cli.argument_types import span, text


def add_key_arguments(parser: argparse.ArgumentParser, default_config: Path | None) -> None:
    """Adds create, list and revoke."""
    actions = parser.add_subparsers(metavar="action", dest="action", required=True)
    create = actions.add_parser("create", help="make a key, printed once", description="Makes a key, printed once.")
    create.add_argument("--tenant", type=text, required=True, help="whose calls, limits and bill the key stands for")
    create.add_argument("--name", type=text, default="", help="where it is used, such as ci")
    create.add_argument("--expires", type=span, metavar="SPAN", help="how long it counts, such as 90d (default: ever)")
    create.add_argument("--operator", action="store_true", help="trusted: may ask about every tenant")
    listing = actions.add_parser("list", help="show every key but its secret", description="Shows every key's record.")
    listing.add_argument("--json", action="store_true", help="print as JSON")
    revoke = actions.add_parser("revoke", help="end a key", description="Ends a key.")
    revoke.add_argument("id", type=text, help="as `fulcrum keys list` shows it, or a beginning that no other key has")
    revoke.add_argument("--in", dest="after", type=span, metavar="SPAN", help="later, such as 24h: time to rotate")
    for one in (create, listing, revoke):
        one.add_argument("--keys", type=Path, metavar="FILE", help="file of keys (default: server.identity.keys)")
        one.add_argument("--config", type=Path, default=default_config, help="YAML settings (default: %(default)s)")
