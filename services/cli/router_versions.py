"""`fulcrum router publish|versions|rollback`: which fitted router serves, of those that were ever published."""

import argparse
import sys
from pathlib import Path

from rich.table import Table

from services.chassis.errors import FulcrumError
from services.chassis.settings import ConfigError, load, read_file
from services.cli.printing import show
from services.router.artefact import Artefact, load_artefact
from services.router.catalogue import load_catalogue
from services.router.eligibility import Eligibility
from services.router.fit import Outcomes
from services.router.gate import Decided, compare
from services.router.policy import Policy
from services.router.predictor import Predictor
from services.router.query import Objective
from services.router.settings import RouterSettings
from services.router.versions import Version, Versions


def publish(arguments: argparse.Namespace, artefact: Artefact, outcomes: Outcomes, encoder_digest: str) -> None:
    """Puts a fitted router in the place of the one that serves, unless it is worse.

    Raises:
        ConfigError: it is, and with what figures; or a file cannot be used.
        ValueError: too few outcomes.
    """
    settings, serving = _settings(arguments.config)
    catalogue = load_catalogue(settings.catalogue, settings.prices)
    if artefact.facts.default_model != catalogue.default.name:
        got, expected = artefact.facts.default_model, f"{catalogue.default.name}, the catalogue's default"
        raise ConfigError(f"{arguments.artefact}: default_model: got {got}, expected {expected}")
    eligibility = Eligibility(catalogue, settings.expected_output_tokens)
    old = _serving(serving, eligibility)
    objective = Objective(settings.max_quality_loss, settings.confidence)
    try:
        found = compare(Policy(eligibility, Predictor(artefact)), old, outcomes, encoder_digest, objective)
    except FulcrumError as error:
        raise ConfigError(f"{error.field}: got {error.value}, expected {error.expected}") from error
    rows = (("new", found.new), *([("serves now", found.serving)] if found.serving else []))
    table = Table("", "harmed", "cost of a prompt")
    for name, decided in rows:
        table.add_row(name, *_figures(decided))
    show(table)
    if found.refused:
        raise ConfigError(f"{arguments.artefact}: is refused on {len(outcomes.prompts)} prompts: {found.refused}")
    _tell(Versions(serving).publish(arguments.artefact), serving)


def change(arguments: argparse.Namespace) -> None:
    """Lists the versions, or goes back by one."""
    _, serving = _settings(arguments.config)
    versions = Versions(serving)
    if arguments.action == "rollback":
        _tell(versions.rollback(), serving)
        return
    listed = versions.listed()
    if not listed:
        print(f"no version of {serving} was published yet; `fulcrum router publish` does", file=sys.stderr)
    table = Table("version", "digest", "fitted prompts", "calibrated prompts", "")
    for one in listed:
        state = "serves" if one.serves else "withdrawn" if one.withdrawn else ""
        try:
            artefact = load_artefact(one.path)
        except ConfigError as error:
            print(error, file=sys.stderr)
            table.add_row(str(one.number), one.digest, "", "", f"{state} cannot be read".strip())
            continue
        counts = artefact.facts.fitted_prompts, len(artefact.calibration_losses)
        table.add_row(str(one.number), one.digest, *(str(count) for count in counts), state)
    show(table)


def _serving(path: Path, eligibility: Eligibility) -> Policy | None:
    """What serves now; None where nothing does, or nothing that can be read, which is told."""
    if not path.exists():
        return None
    try:
        return Policy(eligibility, Predictor(load_artefact(path)))
    except ConfigError as error:
        print(f"what serves cannot be compared with: {error}", file=sys.stderr)
        return None


def _settings(config: Path | None) -> tuple[RouterSettings, Path]:
    settings = load(RouterSettings, read_file(config))
    if settings.predictor is None:
        raise ConfigError("router.predictor: got null, expected the file that serves, or is to serve")
    return settings, settings.predictor


def _figures(decided: Decided) -> tuple[str, str]:
    return f"{decided.harmed.mean():.2%}", f"{decided.cost.mean():.4g}"


def _tell(version: Version, serving: Path) -> None:
    print(f"version {version.number} ({version.digest}) serves from now on as {serving}")
