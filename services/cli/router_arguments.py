"""The command line of `fulcrum router`, apart from what runs it, so that reading arguments loads no library."""

import argparse
from pathlib import Path

from services.cli.argument_types import number, said, text

_EPILOG = """outcomes are JSON lines (.gz or not), a prompt a line:
  {"prompt": "Is 91 prime?", "scores": {"gpt-4o": 1, "gpt-4o-mini": 0}, "domain": "maths"}
a score is 0 to 1, and an answer is worse where its score is 0.25 or more below the strong model's; a model that was not
asked is left out; domain is optional, and "group" (optional too) is the same for prompts that ask the same, so that a
confidence does not count them twice.

a first router from your own outcomes, in three steps:
  fulcrum router fit train.jsonl --default gpt-4o --out mine.safetensors
  fulcrum router evaluate mine.safetensors test.jsonl --price gpt-4o=2.5/10 --price gpt-4o-mini=0.15/0.6
  FULCRUM_ROUTER__PREDICTOR=mine.safetensors fulcrum up

and later, while it runs:
  fulcrum router recalibrate mine.safetensors outcomes.jsonl --out better.safetensors   # from router.outcome_log
  fulcrum router publish better.safetensors fresh-outcomes.jsonl      # or it says why not
  fulcrum router rollback

300 outcomes are a start, 1,500 are good. With fewer than 1,500 add --prior with outcomes of any other models on
any other prompts, such as published evaluations: they teach which prompts are hard."""


def add_router_arguments(parser: argparse.ArgumentParser, default_config: Path | None) -> None:
    """Adds fit, calibrate, recalibrate, evaluate, explain, publish, versions and rollback."""
    parser.epilog, parser.formatter_class = _EPILOG, argparse.RawDescriptionHelpFormatter
    actions = parser.add_subparsers(metavar="action", dest="action", required=True)

    def add(name: str, told: str, more: str = "") -> argparse.ArgumentParser:
        described = f"{told[0].upper()}{told[1:]}. {more}"
        return actions.add_parser(
            name, help=told, description=described, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
        )

    fit = add("fit", "learn a router from outcomes", "Half of the outcomes fit, the other half calibrate.")
    fit.add_argument("outcomes", type=Path, nargs="+", help="files of outcomes")
    fit.add_argument("--default", type=text, required=True, help="the strong model: losses are counted against it")
    fit.add_argument(
        "--prior",
        type=Path,
        nargs="*",
        help="outcomes of other models on other prompts; without a file none counts (default: what the shipped prior "
        "learnt from public ones)",
    )
    fit.add_argument(
        "--newcomer",
        type=text,
        action="append",
        default=[],
        metavar="MODEL",
        help="a model with few scores in the outcomes, or none (repeatable): the fitted models that score as it does "
        "on the same prompts stand for it, and before those the ones near its --price; nothing is promised of it until "
        "`calibrate` had its scores",
    )
    calibrate = add("calibrate", "calibrate a fitted router anew", "Give it outcomes that it was not fitted on.")
    recalibrate = add(
        "recalibrate",
        "calibrate a router anew on what it has logged while it served",
        "The log (router.outcome_log) has what was predicted of every answer that was scored, by feedback or by shadow "
        "traffic, so no prompt is needed; the router has to be the one that made the decisions, and 100 prompts or more"
        " need scores of all its models. Where some were explored (edge.shadow.explore) these alone count, and a "
        "line for each model says how often it would answer worse if it answered everything. Then `publish` it.",
    )
    evaluate = add("evaluate", "write what a router gives as a page", "Give it outcomes that it never saw.")
    explain = add("explain", "say what a router expects of a prompt, and what it would choose")
    publish = add(
        "publish",
        "let a router serve from now on, if it is no worse than the one that does",
        "Both decide the outcomes that you give, which neither may have been fitted on and which need scores of the "
        "models of both; a worse one is refused with figures. A running suite takes the new one within a second.",
    )
    versions = add("versions", "list what was published, and what serves")
    rollback = add("rollback", "let the router serve that served before")
    for one in (publish, versions, rollback):
        one.add_argument("--config", type=Path, default=default_config, help="YAML settings (default: %(default)s)")
    for one in (calibrate, recalibrate, evaluate, explain, publish):
        one.add_argument("artefact", type=Path, help="what `fulcrum router fit` wrote")
    recalibrate.add_argument("log", type=Path, help="router.outcome_log; of the file before it was rotated, too")
    for one in (calibrate, evaluate, publish):
        one.add_argument("outcomes", type=Path, nargs="+", help="files of outcomes")
    for one in (fit, calibrate, recalibrate):
        one.add_argument("--out", type=Path, default=Path("router.safetensors"), help="(default: %(default)s)")
    publish.add_argument(
        "--max-quality-loss", type=number(0, 1), help="bound of the router (default: what edge's settings leave to it)"
    )
    publish.add_argument(
        "--again", action="store_true", help="though a rollback withdrew it; without this such a file is refused"
    )
    evaluate.add_argument("--html", type=Path, default=Path("router.html"), help="the page (default: %(default)s)")
    explain.add_argument("prompt", type=said, help="what would be asked")
    explain.add_argument(
        "--whole-answer", action="store_true", help="of a caller who waits for the end: which models may be asked first"
    )
    for one in (evaluate, explain):
        one.add_argument("--max-quality-loss", type=number(0, 1), default=0.02, help="bound (default: %(default)s)")
        one.add_argument("--confidence", type=number(0, 0.9999), help="with which it holds; on average where not given")
    for one in (fit, evaluate, explain):
        one.add_argument(
            "--price",
            type=text,
            action="append",
            default=[],
            metavar="MODEL=IN/OUT",
            help="dollars per million tokens (repeatable); without prices a call of the default costs 1, others 0",
        )
    for one in (fit, calibrate, evaluate, explain, publish):
        one.add_argument(
            "--encoder", type=Path, default=Path(".models/all-MiniLM-L6-v2"), help="folder (default: %(default)s)"
        )
        one.add_argument("--precision", choices=("fp32", "int8", "fp16"), default="fp32", help="(default: %(default)s)")
