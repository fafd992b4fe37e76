"""`fulcrum router`: fits, calibrates, evaluates and explains a router on files of outcomes."""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from rich.table import Table

from kernels.cuda_driver import CudaUnavailable
from services.chassis.settings import ConfigError
from services.cli.printing import plain, show
from services.cli.router_cascades import asked_first
from services.cli.router_deciding import OUTPUT_TOKENS, Deciding, tokens
from services.cli.router_fitting import fit, keep
from services.cli.router_reading import embedded, loaded, new_to, read, whole
from services.cli.router_recalibrating import recalibrate
from services.cli.router_versions import change, contest, publish
from services.executor.sentence_encoder import SentenceEncoder
from services.executor.tensorrt_library import TensorRtMissing
from services.router.enough import LEAST_GROUPS, LEAST_PROMPTS
from services.router.evaluation import Predicted
from services.router.fit import calibrated
from services.router.off_policy import exact_interval
from services.router.predictor import Predictor
from services.router.query import Objective
from services.router.report import page
from services.router.scored import InvalidOutcomes
from services.router.unseen import fitted_on


def router(arguments: argparse.Namespace) -> None:
    """Runs one action."""
    if arguments.action in ("versions", "rollback"):
        return change(arguments)
    if written := vars(arguments).get("out") or vars(arguments).get("html"):
        _expect_writable(written)
    try:
        if arguments.action == "recalibrate":
            return recalibrate(arguments)
        encoder = SentenceEncoder(arguments.encoder, arguments.precision, threads=1)
        {"fit": fit, "calibrate": _calibrate, "evaluate": _evaluate, "explain": _explain, "publish": _publish}[
            arguments.action
        ](arguments, encoder)
    except (InvalidOutcomes, ValueError, TensorRtMissing, CudaUnavailable) as error:
        raise ConfigError(str(error)) from error


def _calibrate(arguments: argparse.Namespace, encoder: SentenceEncoder) -> None:
    artefact = loaded(arguments.artefact, encoder)
    outcomes = new_to((artefact,), embedded(whole(read(arguments.outcomes), artefact.facts.models), encoder))
    if len(outcomes.prompts) < LEAST_PROMPTS or len(set(outcomes.groups)) < LEAST_GROUPS:
        got = f"{len(outcomes.prompts)} prompts with every model's score, of {len(set(outcomes.groups))} groups"
        least = f"at least {LEAST_PROMPTS}, of {LEAST_GROUPS}, as fewer can promise next to nothing"
        raise InvalidOutcomes(f"outcomes: got {got}, expected {least}")
    keep(calibrated(artefact, outcomes, np.arange(len(outcomes.prompts))), arguments.out)


def _evaluate(arguments: argparse.Namespace, encoder: SentenceEncoder) -> None:
    artefact = loaded(arguments.artefact, encoder)
    scored = whole(read(arguments.outcomes), artefact.facts.models)
    predictor, outcomes = Predictor(artefact), embedded(scored, encoder)
    if known := int(fitted_on(artefact, outcomes).sum()):
        flattered = "the figures flatter it: give it outcomes that it never saw"
        print(f"note: the router was fitted on {known} of these {len(scored)} prompts, so {flattered}", file=sys.stderr)
    predictions = [predictor.predict(*row) for row in zip(outcomes.prompts, outcomes.embeddings, strict=True)]
    models, default = list(artefact.facts.models), artefact.facts.default_model
    deciding = Deciding(artefact, arguments.price)
    losses = [
        [
            np.inf if one.unfamiliar or model not in predictor.calibration.calibrated else one.loss[model]
            for model in models
        ]
        for one in predictions
    ]
    rows = Predicted(
        models=models,
        default=models.index(default),
        quality=np.array([[one.quality[model] for model in models] for one in predictions]),
        losses=np.array(losses),
        scores=scored.scores,
        costs=deciding.costs(scored.prompts),
        domains=scored.domains,
    )
    objective = Objective(arguments.max_quality_loss, arguments.confidence)
    asked = zip(outcomes.prompts, outcomes.embeddings, strict=True)
    chosen = np.array([models.index(deciding.plan(*row, objective).models[0].model) for row in asked])
    unit = "micro-dollars a prompt" if arguments.price else f"calls of {default} a prompt"
    text = page(rows, chosen, arguments.max_quality_loss, arguments.confidence, unit, scored.remarks)
    arguments.html.write_text(text, encoding="utf-8")
    found, strong = rows.point(chosen), rows.always(rows.default)
    print(
        f"score {found.score:.3f}, always {default} {strong.score:.3f}; cost {found.cost:.4g}, {strong.cost:.4g} {unit}"
    )
    harm = rows.harm(chosen)
    low, high = exact_interval(harm, len(scored))
    told = f"{harm:.2%} of prompts ({low:.2%} to {high:.2%}, as {len(scored)} tell)"
    print(f"worse than {default} on {told}; the page is {arguments.html}")


def _publish(arguments: argparse.Namespace, encoder: SentenceEncoder) -> None:
    held = contest(arguments, encoder)
    outcomes = embedded(whole(read(arguments.outcomes), held.models), encoder)
    both = [one for one in (held.new, held.serves) if one]
    publish(arguments.artefact, held, new_to(both, outcomes, calibrated=True))


def _explain(arguments: argparse.Namespace, encoder: SentenceEncoder) -> None:
    artefact = loaded(arguments.artefact, encoder)
    predictor, default = Predictor(artefact), artefact.facts.default_model
    vector = encoder.encode([encoder.tokenise(arguments.prompt)])[0]
    found, models = predictor.predict(arguments.prompt, vector), list(artefact.facts.models)
    deciding = Deciding(artefact, arguments.price)
    costs = dict(zip(models, deciding.costs([arguments.prompt])[0], strict=True))
    unit = "dollars a request" if deciding.prices else f"calls of {plain(default)}"
    worse = f"chance of being worse than {plain(default)}"
    table = Table("model", "expected score, 0 to 100 %", worse, f"cost, {unit}")
    for model in sorted(models, key=lambda model: costs[model]):
        cost = f"{costs[model] / 1e6:.8f}" if deciding.prices else f"{costs[model]:.0f}"
        table.add_row(plain(model), f"{found.quality[model]:.1%}", f"{found.loss[model]:.1%}", cost)
    show(table)
    if deciding.prices:
        print(f"counted: {tokens(arguments.prompt):.0f} tokens of the prompt, {OUTPUT_TOKENS} of the answer")
    near = predictor.evidence(arguments.prompt, vector)
    if near.domain:
        print(f"domain: {near.domain} (the most likely of those fitted)")
    print(f"uncertainty: ±{100 * near.uncertainty:.1f} points, the standard error of a chance of 50 % among as many")
    print("  fitted prompts as are near this one; it decides nothing")
    print(f"unfamiliar: {found.unfamiliar or 'no'}")
    objective = Objective(arguments.max_quality_loss, arguments.confidence, whole_answer=arguments.whole_answer)
    plan = deciding.plan(arguments.prompt, vector, objective)
    for line in asked_first(predictor) if arguments.whole_answer else ():
        print(line)
    chosen = plan.models[0].model
    why = plan.explanation.removeprefix(f"{chosen}: ")
    print(f"chosen: {plain(chosen)}; {why if deciding.prices else why.partition('; expected cost')[0]}")


def _expect_writable(path: Path) -> None:
    """Raises ConfigError where no file can be written there, before anything is worked out for it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
    if path.is_dir():
        raise ConfigError(f"{path}: cannot be written: is a folder, expected a file")
