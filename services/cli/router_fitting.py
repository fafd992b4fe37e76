"""`fulcrum router fit`: a router from outcomes, from what others' outcomes tell, and from a few scores of newcomers."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.table import Table

from services.chassis.settings import ConfigError
from services.cli.printing import plain, show
from services.cli.router_cascades import asked_first
from services.cli.router_reading import embedded, encoder_vectors, prices, read
from services.executor.sentence_encoder import SentenceEncoder
from services.router.artefact import Artefact
from services.router.enough import expect_enough
from services.router.features import lexical
from services.router.fit import Recipe, fit_artefact
from services.router.least_bound import least_bound
from services.router.newcomer import by_domain, introduced, near_in_price, weights
from services.router.predictor import Predictor
from services.router.prior import Prior
from services.router.prior_file import load_prior
from services.router.prior_fit import Source, fit_prior
from services.router.scored import Scored

SHIPPED_PRIOR = Path("models/prior/prior.safetensors")
_LEAST_SHARED = 10  # questions, without a price
_SURE = 0.9
Paid = Mapping[str, tuple[float, float]]


def fit(arguments: argparse.Namespace, encoder: SentenceEncoder) -> None:
    """Fits the models, introduces the newcomers, writes the file and shows what it holds."""
    if arguments.default in arguments.newcomer:
        raise ConfigError(f"--newcomer: got {arguments.default}, expected another than the --default")
    scored = read(arguments.outcomes)
    paid = prices(arguments.price, sorted({*scored.models, *arguments.newcomer}))
    fitted = [model for model in scored.models if model not in arguments.newcomer]
    known = scored.only(fitted)
    known = known.at(np.flatnonzero(np.isfinite(known.scores).any(axis=1)))
    expect_enough(known.groups, {model: known.of(model) for model in fitted}, arguments.default)
    outcomes = embedded(known, encoder)
    artefact = fit_artefact(outcomes, arguments.default, encoder.digest, Recipe(), _prior(arguments, encoder))
    _tell_better(artefact)
    for name in arguments.newcomer:
        artefact = _introduced(artefact, scored, name, fitted, paid)
    keep(artefact, arguments.out)


def _tell_better(artefact: Artefact) -> None:
    """A note where the default is not the strongest, as losses are counted against it."""
    facts = artefact.facts
    right = {model: facts.metrics[f"accuracy.{model}"] for model in facts.models}
    best = max(facts.models, key=lambda model: right[model])
    if right[best] > right[facts.default_model]:
        told = f"{best} answers well more often than --default {facts.default_model}"
        print(f"note: {told} ({right[best]:.1%}, {right[facts.default_model]:.1%}): name it instead?", file=sys.stderr)


def keep(artefact: Artefact, path: Path) -> None:
    """Writes the file and shows what it holds."""
    artefact.save(path)
    facts = artefact.facts
    table = Table("model", "answers well", f"worse than {plain(facts.default_model)}", "AUC of answering well")
    for model in facts.models:
        auc = facts.metrics.get(f"quality_auc.{model}")
        shares = (facts.metrics.get(f"{kind}.{model}") for kind in ("accuracy", "harm"))
        told = ("nothing promised" if share is None else f"{share:.1%}" for share in shares)
        table.add_row(plain(model), *told, "" if auc is None else f"{auc:.3f}")
    show(table)
    count = len(artefact.calibration_losses)
    print(f"fitted on {facts.fitted_prompts} prompts, calibrated on {count} others, as shown; wrote {path}")
    predictor = Predictor(artefact)
    calibration = predictor.calibration
    rivals = tuple(model for model in facts.models if model != facts.default_model and model in calibration.calibrated)
    if rivals:
        average, sure = (f"{least_bound(calibration, rivals, one):.1%}" for one in (None, _SURE))
        below = f"below a bound of {average}, or of {sure} with a confidence of {_SURE:.0%}"
        print(f"{below}, {count} prompts can promise nothing: {plain(facts.default_model)} answers everything")
    for line in asked_first(predictor):
        print(line)


def _introduced(artefact: Artefact, scored: Scored, name: str, fitted: Sequence[str], given: Paid) -> Artefact:
    """With a newcomer: by the questions that all have answered, by their domains, and by price."""
    paid = {model: prompt + answer for model, (prompt, answer) in given.items()}
    own = scored.of(name) if name in scored.models else np.full(len(scored), np.nan)
    others = scored.only(fitted).scores
    shared = np.flatnonzero(np.isfinite(others).all(axis=1) & np.isfinite(own))
    if len(shared) < _LEAST_SHARED and not paid.get(name):
        least = f"expected at least {_LEAST_SHARED}, or its --price and those of others"
        raise ConfigError(f"--newcomer {name}: got {len(shared)} prompts that all models answered, {least}")
    before = near_in_price(paid.get(name), {model: paid.get(model) for model in fitted})
    mixture = weights(others[shared], own[shared], before)
    left = own[shared] - others[shared] @ mixture[:-2] - mixture[-2]
    better = by_domain(left, scored.at(shared).domains, artefact.facts.domains)
    return introduced(artefact, name, mixture, better)


def _prior(arguments: argparse.Namespace, encoder: SentenceEncoder) -> Prior | None:
    """What the outcomes of `--prior` tell, or the shipped prior where it was made for this encoder."""
    if arguments.prior is None:
        shipped = SHIPPED_PRIOR.exists() and arguments.precision == "fp32"
        return load_prior(SHIPPED_PRIOR, encoder.digest) if shipped else None
    sources = []
    for path in arguments.prior:
        scored = read([path])
        facts = np.stack([lexical(prompt) for prompt in scored.prompts])
        sources.append(Source(encoder_vectors(scored.prompts, encoder), facts, scored.scores))
    return fit_prior(sources) if sources else None
