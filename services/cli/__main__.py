"""`fulcrum`: run the suite, ask it something, see what it saved."""

import argparse
import asyncio
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from services.chassis.errors import FulcrumError
from services.chassis.settings import ConfigError
from services.cli.address import default_address
from services.cli.key_arguments import add_key_arguments

_EPILOG = """examples:
  fulcrum up                              run everything in one process on 127.0.0.1:50551
  fulcrum complete "What is the capital of Norway?"
  fulcrum stats                           what was asked, what it cost, what each lever saved
  fulcrum stats --by day,model --watch    the same split by day and model, kept up to date
  fulcrum serve cache --config cache.yaml run one service by itself, as in a cluster
  fulcrum keys create --tenant acme       make an API key, for a suite that asks for them

a suite that asks for a key gets the one in FULCRUM_API_KEY; see docs/identity.md.

settings come from one YAML file (--config, FULCRUM_CONFIG, or deploy/local.yaml where it exists) with a section a
service; FULCRUM_<SECTION>__<KEY> in the environment wins, such as FULCRUM_SERVER__PORT=6000. `fulcrum config check`
explains a file."""


def _default_config() -> Path | None:
    given = os.environ.get("FULCRUM_CONFIG")
    if given:
        return Path(given)
    local = Path("deploy/local.yaml")
    return local if local.exists() else None


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="fulcrum",
        description="Cuts the bill of language models: routes each request to the cheapest model that answers well, "
        "reuses answers that were paid for, and runs the rest on optimised engines.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sub = top.add_subparsers(metavar="command", required=True)

    def add(name: str, text: str, run: str) -> argparse.ArgumentParser:
        one = sub.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        one.set_defaults(run=run)
        return one

    up = add("up", "run all services in one process", "services.cli.serving:up")
    serve = add("serve", "run one service in a process of its own", "services.cli.serving:serve")
    serve.add_argument("service", choices=("edge", "cache", "router", "executor"))
    config = add("config", "look at settings", "services.cli.serving:config")
    config.add_argument("action", choices=("check",), help="check: explain what is wrong, or show every value")
    for one in (up, serve, config):
        one.add_argument("--config", type=Path, default=_default_config(), help="YAML settings (default: %(default)s)")
    models = add("models", "list models, or fetch a model's published weights", "services.cli.asking:models")
    models.add_argument("action", nargs="?", choices=("list", "pull"), default="list")
    models.add_argument("name", nargs="?", help="for pull: all-MiniLM-L6-v2")
    complete = add(
        "complete", "ask something; streams the answer, then prints its receipt", "services.cli.asking:complete"
    )
    _complete_arguments(complete)
    stats = add("stats", "what was asked, what it cost, what each lever saved", "services.cli.asking:stats")
    _stats_arguments(stats)
    for one in (models, complete, stats):
        one.add_argument("--address", default=default_address(), help="a running suite (default: %(default)s)")
        for name, text in (
            ("ca", "TLS: PEM certificates that verify the suite"),
            ("certificate", "mutual TLS: PEM certificate shown to the suite, beside --key"),
            ("key", "mutual TLS: PEM private key of the certificate"),
        ):
            variable = f"FULCRUM_{name.upper()}"
            one.add_argument(
                f"--{name}", type=Path, default=os.environ.get(variable), help=f"{text} (default: {variable})"
            )
    add_key_arguments(add("keys", "make, list and revoke API keys", "services.cli.keys:keys"), _default_config())
    return top


def _stats_arguments(stats: argparse.ArgumentParser) -> None:
    stats.add_argument("--by", type=_dimensions, default=[], help="split by tenant, model and day, such as day,model")
    stats.add_argument("--tenant", default="", help="of this tenant alone; for operators, others see their own")
    stats.add_argument("--days", type=int, help="of the last days alone, 1 for today (UTC)")
    stats.add_argument("--watch", type=float, nargs="?", const=2.0, help="show again every so many seconds (default 2)")
    stats.add_argument("--json", action="store_true", help="print as JSON")


def _dimensions(text: str) -> list[str]:
    names = text.split(",")
    if not set(names) <= {"tenant", "model", "day"} or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected tenant, model and day, with commas between")
    return names


def _complete_arguments(complete: argparse.ArgumentParser) -> None:
    complete.add_argument("prompt", help="what to ask; - reads standard input")
    complete.add_argument("--system", help="instructions that go before the prompt")
    complete.add_argument("--model", action="append", default=[], help="allow only this model (repeatable)")
    complete.add_argument("--max-quality-loss", type=float, help="share of requests that may be answered worse")
    complete.add_argument("--max-output-tokens", type=int, help="most tokens of the answer")
    complete.add_argument("--temperature", type=float, help="0 is greedy")
    complete.add_argument("--seed", type=int, help="equal seeds give equal answers on local models")
    complete.add_argument("--no-cache", action="store_true", help="do not answer from the cache")
    complete.add_argument("--no-store", action="store_true", help="do not keep the answer")
    complete.add_argument("--json", action="store_true", help="print the receipt as JSON")


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; ends with 1 where a call failed and with 2 where settings or arguments are wrong."""
    chosen = parser().parse_args(arguments)
    module, _, name = chosen.run.partition(":")  # imported only now: asking a suite needs none of its libraries
    run = getattr(importlib.import_module(module), name)
    try:
        asyncio.run(run(chosen)) if asyncio.iscoroutinefunction(run) else run(chosen)
    except ConfigError as error:
        print(f"fulcrum: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    except FulcrumError as error:
        print(f"fulcrum: {type(error).__name__}: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
