"""`python -m benchmarks.caching SUBCOMMAND`: one subcommand for each question, each with its baselines."""

import argparse

from benchmarks.caching import eviction, index, judge, lookup, pairs, stream, swap

_SUBCOMMANDS = {
    "stream": stream,
    "pairs": pairs,
    "index": index,
    "eviction": eviction,
    "judge": judge,
    "lookup": lookup,
    "swap": swap,
}


def main() -> None:
    """Runs one subcommand; its last line is JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.caching", description=__doc__)
    chosen = parser.add_subparsers(dest="subcommand", required=True)
    for name, module in _SUBCOMMANDS.items():
        module.add_arguments(chosen.add_parser(name, help=str(module.__doc__).replace("%", "%%")))
    arguments = parser.parse_args()
    _SUBCOMMANDS[arguments.subcommand].run(arguments)


if __name__ == "__main__":
    main()
