"""The command line of `fulcrum cache`, apart from what runs it, so that reading arguments loads no library."""

import argparse
from pathlib import Path

from services.cli.address import add_connection_arguments
from services.cli.argument_types import address, span, text, whole


def add_cache_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds ls, show, purge, export, import and reembed."""
    actions = parser.add_subparsers(metavar="action", dest="action", required=True)
    listing = actions.add_parser("ls", help="list entries, newest first", description="Lists entries, newest first.")
    listing.add_argument("--limit", type=whole(1, 10**9), default=100, help="most entries (default: %(default)s)")
    listing.add_argument("--json", action="store_true", help="print as JSON, one object a line")
    shown = actions.add_parser("show", help="show an entry and its answer", description="Shows one entry, whole.")
    shown.add_argument("id", type=text, help="as `fulcrum cache ls` shows it")
    purge = actions.add_parser("purge", help="remove entries", description="Removes entries; conditions add up.")
    purge.add_argument("--id", type=text, help="only this entry")
    purge.add_argument("--principal", type=text, help="only entries that this key or certificate caused")
    purge.add_argument("--model", type=text, help="only answers of this model")
    purge.add_argument("--older", type=span, metavar="SPAN", help="only entries older than this, such as 30d")
    purge.add_argument("--younger", type=span, metavar="SPAN", help="only entries no older than this, such as 1h")
    purge.add_argument("--all", action="store_true", help="everything of the tenant")
    export = actions.add_parser("export", help="write entries", description="Writes entries as JSON Lines.")
    taken = actions.add_parser("import", help="keep exported entries", description="Keeps entries of an export.")
    taken.add_argument("file", type=Path, help="what `fulcrum cache export` wrote; - reads standard input")
    again = actions.add_parser(
        "reembed",
        help="embed entries anew after a change of encoder",
        description="Gives entries the vectors of the encoder that serves now; may be broken off and run again.",
    )
    again.add_argument("--rate", type=whole(1, 10**6), default=50, help="most entries a second (default: %(default)s)")
    again.add_argument(
        "--encoder", type=address, metavar="HOST:PORT", help="where the encoder is (default: the --address)"
    )
    for one in (listing, shown, purge):
        one.add_argument("--tenant", type=text, default="local", help="whose entries (default: %(default)s)")
    export.add_argument("--tenant", type=text, default="", help="whose entries (default: everybody's)")
    for one in (listing, shown, purge, export, taken, again):
        add_connection_arguments(one)
