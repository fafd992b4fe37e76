"""The command line of `fulcrum feedback`, apart from what runs it, so that reading arguments loads no library."""

import argparse
from pathlib import Path

_EXAMPLES = """examples:
  fulcrum complete "What is the capital of Norway?" --json > answer.txt
  fulcrum feedback wrong answer.txt
  fulcrum feedback right - < answer.txt

wrong: the cache gives the answer to nobody any more (or, of who has no standing there, has it compared first), and
one that was given to a similar prompt counts against the share that it may answer wrongly. right: the cache confirms
it, unless you caused it yourself. Where a model answered, the router's log of outcomes, if it keeps one, gets the
score, 0 or 1, of the first word on each model of a decision; later ones change nothing there. Both remember the last
answers alone, of several routers or caches each its own; nobody can tell of another tenant's. What is printed is to
whom the word was sent."""


def add_feedback_arguments(feedback: argparse.ArgumentParser) -> None:
    """Adds the verdict, and the receipt of the answer that it is on."""
    feedback.epilog, feedback.formatter_class = _EXAMPLES, argparse.RawDescriptionHelpFormatter
    feedback.add_argument("verdict", choices=("right", "wrong"), help="whether the answer was right")
    feedback.add_argument(
        "receipt", type=Path, help="file with what `fulcrum complete --json` printed; - reads standard input"
    )
