"""The command line of `fulcrum cache`, apart from what runs it, so that reading arguments loads no library."""

import argparse
from pathlib import Path

from services.cli.address import add_connection_arguments
from services.cli.argument_types import address, filled, span, text, whole

_WARM = """a file is JSON Lines or CSV with a header, named .jsonl or .csv, gzipped where it ends in .gz. Either pairs:
  {"text_a": "How do I top up?", "text_b": "Topping up, how?", "label": "same"}      or "different"; 1 and 0 do as well
or a log of texts in the order in which they were asked, with their answers or a name for each (field "category"):
  {"text": "How do I top up?", "answer": "Open the app and ..."}
null in the place of an answer is one that no other text has. A log of your own traffic teaches best, then one of
another service, then pairs. 50 texts are a start; more than the latest 10,000 are not used.

  fulcrum cache warm last-month.jsonl --tenant acme
  fulcrum stats                                       # and later, how the tenant's promise stands

What is taught here never counts as checked: it decides only once it has foreseen verdicts on the tenant's own
requests, and `certified` knows of nothing but audits. A second warm-up takes the place of the first, but for a verifier
that decides, against which the new one must win. Pairs and logs with 200 near texts or more train a verifier of pairs
too, which must win against what the tenant's verdicts taught."""

_PURGE = """Removes entries; conditions add up. A damaged file of entries that the cache has set aside, in which they
might still be read, is removed with them, whatever is purged. --all without another condition takes what the tenant's
traffic taught, too."""


def add_cache_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds ls, show, purge, export, import, warm and reembed."""
    actions = parser.add_subparsers(metavar="action", dest="action", required=True)
    listing = actions.add_parser("ls", help="list entries, newest first", description="Lists entries, newest first.")
    listing.add_argument("--limit", type=whole(1, 10**9), default=100, help="most entries (default: %(default)s)")
    listing.add_argument("--json", action="store_true", help="print as JSON, one object a line")
    shown = actions.add_parser("show", help="show an entry and its answer", description="Shows one entry, whole.")
    shown.add_argument("id", type=filled, help="as `fulcrum cache ls` shows it")
    purge = actions.add_parser("purge", help="remove entries", description=_PURGE)
    purge.add_argument("--id", type=filled, help="only this entry")
    purge.add_argument("--principal", type=text, help="only entries that this key or certificate caused")
    purge.add_argument("--model", type=filled, help="only answers of this model")
    purge.add_argument("--older", type=span, metavar="SPAN", help="only entries older than this, such as 30d")
    purge.add_argument("--younger", type=span, metavar="SPAN", help="only entries no older than this, such as 1h")
    purge.add_argument("--all", action="store_true", help="everything of the tenant")
    export = actions.add_parser("export", help="write entries", description="Writes entries as JSON Lines.")
    taken = actions.add_parser("import", help="keep exported entries", description="Keeps entries of an export.")
    taken.add_argument("file", type=Path, help="what `fulcrum cache export` wrote; - reads standard input")
    warm = actions.add_parser(
        "warm",
        help="teach a tenant's scope from labelled pairs or a log",
        description="Teaches a new tenant's scope which prompts share an answer, so that it need not start at nothing.",
        epilog=_WARM,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    warm.add_argument("file", type=Path, help="labelled pairs or a log, see below")
    again = actions.add_parser(
        "reembed",
        help="embed entries anew after a change of encoder",
        description="Gives entries the vectors of the encoder that serves now; may be broken off and run again.",
    )
    again.add_argument("--rate", type=whole(1, 10**6), default=50, help="most entries a second (default: %(default)s)")
    for one in (warm, again):
        one.add_argument(
            "--encoder", type=address, metavar="HOST:PORT", help="where the encoder is (default: the --address)"
        )
    for one in (listing, shown, purge, warm):
        one.add_argument("--tenant", type=filled, default="local", help="whose entries (default: %(default)s)")
    export.add_argument("--tenant", type=filled, help="whose entries (default: everybody's)")
    for one in (listing, shown, purge, export, taken, warm, again):
        add_connection_arguments(one)
