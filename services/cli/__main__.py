"""`fulcrum`: run the suite, ask it something, see what it saved."""

import argparse
import asyncio
import importlib
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import NoReturn

from services.chassis.errors import FulcrumError
from services.chassis.settings import ConfigError
from services.cli.address import add_connection_arguments
from services.cli.argument_types import dimensions, number, text, whole
from services.cli.cache_arguments import add_cache_arguments
from services.cli.complete_arguments import add_complete_arguments
from services.cli.feedback_arguments import add_feedback_arguments
from services.cli.key_arguments import add_key_arguments
from services.cli.router_arguments import add_router_arguments

_SERVICES = ("edge", "cache", "router", "executor")

_EPILOG = """examples:
  fulcrum up                              run everything in one process on 127.0.0.1:50551
  fulcrum complete "What is the capital of Norway?"
  fulcrum feedback wrong answer.txt       tell that an answer was wrong, by what complete --json printed of it
  fulcrum stats                           what was asked, what it cost, what each lever saved
  fulcrum stats --by day,model --watch    the same split by day and model, kept up to date
  fulcrum serve cache --config cache.yaml run one service by itself, as in a cluster
  fulcrum cache ls                        what the cache keeps; show, purge, export, import, warm
  fulcrum router fit log.jsonl --default gpt-4o   learn which model answers what from your own outcomes
  fulcrum keys create --tenant acme       make an API key, for a suite that asks for them

a suite that asks for a key gets the one in FULCRUM_API_KEY; see docs/identity.md.

settings come from one YAML file (--config, FULCRUM_CONFIG, or deploy/local.yaml where it exists) with a section a
service; FULCRUM_<SECTION>__<KEY> in the environment wins, such as FULCRUM_SERVER__PORT=6000. `fulcrum config check`
explains a file."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Ends with 2 and one line, which names the argument."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _default_config() -> Path | None:
    given = os.environ.get("FULCRUM_CONFIG")
    if given:
        return Path(given)
    local = Path("deploy/local.yaml")
    return local if local.exists() else None


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = _Parser(
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
    serve.add_argument("service", choices=_SERVICES)
    config = add("config", "look at settings", "services.cli.serving:config")
    config.add_argument("action", choices=("check",), help="check: explain what is wrong, or show every value")
    config.add_argument("service", nargs="?", choices=_SERVICES, help="check the files of this one alone, as it serves")
    for one in (up, serve, config):
        one.add_argument("--config", type=Path, default=_default_config(), help="YAML settings (default: %(default)s)")
    models = add(
        "models", "list, load and unload models, or fetch a model's published weights", "services.cli.asking:models"
    )
    models.add_argument("action", nargs="?", choices=("list", "load", "unload", "pull"), default="list")
    models.add_argument("name", type=text, nargs="?", help="of a model of the settings; for pull: all-MiniLM-L6-v2")
    complete = add(
        "complete", "ask something; streams the answer, then prints its receipt", "services.cli.completing:complete"
    )
    add_complete_arguments(complete)
    stats = add("stats", "what was asked, what it cost, what each lever saved", "services.cli.asking:stats")
    _stats_arguments(stats)
    feedback = add("feedback", "tell whether an answer was right, by its receipt", "services.cli.feedback:feedback")
    add_feedback_arguments(feedback)
    for one in (models, complete, stats, feedback):
        add_connection_arguments(one)
    add_cache_arguments(
        add(
            "cache",
            "list, show, remove, export and import cached answers, or warm up",
            "services.cli.cache:cache",
        )
    )
    add_key_arguments(add("keys", "make, list and revoke API keys", "services.cli.keys:keys"), _default_config())
    add_router_arguments(
        add(
            "router",
            "fit, calibrate, evaluate, explain and publish a router on your own outcomes or its log",
            "services.cli.routing:router",
        ),
        _default_config(),
    )
    return top


def _stats_arguments(stats: argparse.ArgumentParser) -> None:
    stats.add_argument("--by", type=dimensions, default=[], help="split by tenant, model and day, such as day,model")
    stats.add_argument(
        "--tenant", type=text, default="", help="of this tenant alone; for operators, others see their own"
    )
    stats.add_argument("--days", type=whole(1, 36_500), help="of the last days alone, 1 for today (UTC)")
    stats.add_argument(
        "--watch",
        type=number(0.1, 86_400),
        nargs="?",
        const=2.0,
        metavar="SECONDS",
        help="show again every so many seconds (default 2)",
    )
    stats.add_argument("--json", action="store_true", help="print as JSON, one object a line beside --watch")


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; ends with 1 where a call failed and with 2 where settings or arguments are wrong."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what the terminal's encoding lacks is shown, not raised
    chosen = parser().parse_args(arguments)
    if "address" in chosen:
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its details are part of our own error
    module, _, name = chosen.run.partition(":")  # imported only now: asking a suite needs none of its libraries
    run = getattr(importlib.import_module(module), name)
    try:
        asyncio.run(run(chosen)) if asyncio.iscoroutinefunction(run) else run(chosen)
        sys.stdout.flush()
    except ConfigError as error:
        _end(2, str(error))
    except FulcrumError as error:
        _end(1, f"{type(error).__name__}: {error}")
    except BrokenPipeError:  # who read has gone; Python would complain once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None
    except OSError as error:
        _end(1, str(error))
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _end(status: int, problem: str) -> NoReturn:
    print(f"fulcrum: {problem}", file=sys.stderr)
    raise SystemExit(status) from None


if __name__ == "__main__":
    main()
