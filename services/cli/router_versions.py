"""`fulcrum router publish|versions|rollback`: which fitted router serves, of those that were ever published."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from services.chassis.errors import FulcrumError
from services.chassis.settings import ConfigError, load, read_file
from services.cli.printing import show
from services.cli.router_reading import loaded
from services.edge.quality_budget import QualityBudget
from services.edge.settings import EdgeSettings
from services.executor.sentence_encoder import SentenceEncoder
from services.executor.settings import ExecutorSettings
from services.router.artefact import Artefact
from services.router.catalogue import load_catalogue
from services.router.decided import Decided
from services.router.eligibility import Eligibility
from services.router.fit import Outcomes
from services.router.gate import Verdict, compare
from services.router.policy import Policy
from services.router.predictor import Predictor
from services.router.query import Goal, Objective
from services.router.settings import RouterSettings
from services.router.versions import Judged, Version, Versions, usable


@dataclass(frozen=True)
class Contest:
    """A fitted router, what serves now, or None, and what both are held to.

    `judged` are the files, `models` are those of either that the catalogue has, `told` is where the bound comes from.
    """

    new: Artefact
    serves: Artefact | None
    judged: Judged
    serving: Path
    eligibility: Eligibility
    models: Sequence[str]
    objective: Objective
    told: str


def contest(arguments: argparse.Namespace, encoder: SentenceEncoder) -> Contest:
    """What publishing this router will decide by.

    Raises:
        ConfigError: a file or the settings cannot be used.
    """
    settings, serving = _settings(arguments.config)
    catalogue = load_catalogue(settings.catalogue, settings.prices)
    judged = Versions(serving).expect_another(arguments.artefact, arguments.again)
    artefact = loaded(arguments.artefact, encoder)
    usable(arguments.artefact, catalogue.default.name)
    _expect_encoder(arguments, artefact.facts.encoder_digest)
    serves = _serving(serving, catalogue.default.name, artefact.facts.encoder_digest)
    either = {name for one in (artefact, serves) if one for name in Predictor(one).calibration.calibrated}
    models = tuple(name for name in catalogue.names if name in either)
    eligibility = Eligibility(catalogue, settings.expected_output_tokens)
    bound, told = _bound(arguments)
    return Contest(artefact, serves, judged, serving, eligibility, models, Objective(bound, settings.confidence), told)


def publish(path: Path, held: Contest, outcomes: Outcomes) -> None:
    """Puts the fitted router in this file in the place of the one that serves, unless it is worse.

    Raises:
        ConfigError: it is, and with what figures; or a file cannot be used.
        ValueError: too few outcomes.
    """
    new = Policy(held.eligibility, Predictor(held.new))
    old = Policy(held.eligibility, Predictor(held.serves)) if held.serves else None
    try:
        found = compare(new, old, outcomes, held.new.facts.encoder_digest, held.objective)
    except FulcrumError as error:
        raise ConfigError(f"{error.field}: got {error.value}, expected {error.expected}") from error
    table = Table("", "harmed, of all prompts", "cost of a prompt (nano-dollars; strong calls if unpriced)")
    for verdict in found:
        for who, decided in (("new", verdict.new), ("serves now", verdict.serving)):
            if decided:
                table.add_row(f"{who}{_of_whom(verdict)}", *_figures(decided, verdict.objective.goal))
    show(table)
    print(f"held to a bound of {held.objective.max_quality_loss:.3g}, {held.told}")
    for verdict in (one for one in found if not one.also):
        for line in _instead(verdict, held.objective.max_quality_loss):
            print(line)
    if refused := next((verdict.refused for verdict in found if verdict.refused), ""):
        raise ConfigError(f"{path}: is refused on {len(outcomes.prompts)} prompts: {refused}")
    _tell(Versions(held.serving).publish(path, held.judged), held.serving)


def change(arguments: argparse.Namespace) -> None:
    """Lists the versions, or goes back by one."""
    settings, serving = _settings(arguments.config)
    versions = Versions(serving)
    default = load_catalogue(settings.catalogue, settings.prices).default.name
    if arguments.action == "rollback":
        _tell(versions.rollback(default), serving)
        return
    listed = versions.listed()
    if not listed:
        print(f"no version of {serving} was published yet; `fulcrum router publish` does", file=sys.stderr)
    table = Table("version", "digest", "fitted prompts", "calibrated prompts", "")
    for one in listed:
        state = "serves" if one.serves else "withdrawn" if one.withdrawn else ""
        try:
            artefact = usable(one.path, default)
        except ConfigError as error:
            print(error, file=sys.stderr)
            table.add_row(str(one.number), one.digest, "", "", f"{state} cannot be used".strip())
            continue
        counts = artefact.facts.fitted_prompts, len(artefact.calibration_losses)
        table.add_row(str(one.number), one.digest, *(str(count) for count in counts), state)
    show(table)


def _expect_encoder(arguments: argparse.Namespace, digest: str) -> None:
    """Raises ConfigError where the settings embed prompts by another encoder than this, which refuses them all then."""
    if not load(EdgeSettings, read_file(arguments.config)).encoder.in_process:
        return
    embeds = load(ExecutorSettings, read_file(arguments.config)).encoder
    if embeds is None:
        return
    fitted = f"as {arguments.artefact} was fitted on, or edge.encoder.address of another process"
    if embeds.precision != arguments.precision:
        expected = f"{arguments.precision}, {fitted}"
        raise ConfigError(f"executor.encoder.precision: got {embeds.precision}, expected {expected}")
    elsewhere = embeds.folder.resolve() != arguments.encoder.resolve()
    if elsewhere and SentenceEncoder(embeds.folder, embeds.precision, threads=1).digest != digest:
        raise ConfigError(f"executor.encoder.folder: got {embeds.folder}, expected {arguments.encoder}, {fitted}")


def _serving(path: Path, default_model: str, encoder_digest: str) -> Artefact | None:
    """What serves now; None where nothing does, or nothing that these embeddings can be given to, which is told."""
    if not path.exists():
        return None
    try:
        artefact = usable(path, default_model)
        if artefact.facts.encoder_digest != encoder_digest:
            raise ConfigError(f"{path}: encoder_digest: was fitted on another encoder or precision")
    except ConfigError as error:
        print(f"what serves cannot be compared with, so only the bound is held: {error}", file=sys.stderr)
        return None
    return artefact


def _settings(config: Path | None) -> tuple[RouterSettings, Path]:
    settings = load(RouterSettings, read_file(config))
    if settings.predictor is None:
        raise ConfigError("router.predictor: got null, expected the file that serves, or is to serve")
    return settings, settings.predictor


def _bound(arguments: argparse.Namespace) -> tuple[float, str]:
    """What the router will be asked to keep, and who says so."""
    if arguments.max_quality_loss is not None:
        return arguments.max_quality_loss, "as --max-quality-loss says"
    edge = load(EdgeSettings, read_file(arguments.config))
    asked = QualityBudget.split(edge.max_quality_loss, edge.cache_part, cache_in_use=True).router_share
    return asked, "which edge asks of the router: edge.max_quality_loss less the cache's part"


def _instead(verdict: Verdict, bound: float) -> Iterator[str]:
    """What is to be said where the bound that was to be held compares nothing."""
    who = "callers who wait for the whole answer" if verdict.objective.whole_answer else "callers of streams"
    if not verdict.any("weak"):
        yield f"no weaker model is asked anything for {who}, by any bound up to 0.5: nothing was compared"
    elif verdict.objective.max_quality_loss != bound:
        held = f"held to {verdict.objective.max_quality_loss:.3g} instead, the least that compares"
        yield f"no weaker model is asked anything for {who} under that bound: {held}"


def _of_whom(verdict: Verdict) -> str:
    """For which callers it is, where these are not most."""
    if verdict.objective.goal is not Goal.CHEAPEST:
        return f", the {verdict.objective.goal.value.lower()} answer"
    if verdict.also:
        return f", a bound of {verdict.objective.max_quality_loss:.3g}"
    return ", whole answers" if verdict.objective.whole_answer else ""


def _figures(decided: Decided, goal: Goal) -> tuple[str, str]:
    """The share harmed, and what the goal would have less of; without prices, or times, that is strong calls."""
    unit = {Goal.CHEAPEST: "", Goal.FASTEST: " s instead", Goal.BEST: " of the score missed instead"}[goal]
    return f"{decided.harmed.mean():.2%}", f"{decided.cost.mean():.4g}{unit}"


def _tell(version: Version, serving: Path) -> None:
    print(f"version {version.number} ({version.digest}) serves from now on as {serving}")
