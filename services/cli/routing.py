"""`fulcrum router`: fits, calibrates, evaluates and explains a router on files of outcomes."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from kernels.cuda_driver import CudaUnavailable
from services.chassis.settings import ConfigError
from services.cli.printing import plain, show
from services.cli.router_versions import change, contest, publish
from services.executor.sentence_encoder import SentenceEncoder
from services.executor.tensorrt_library import TensorRtMissing
from services.router.artefact import Artefact, load_artefact
from services.router.evaluation import Predicted
from services.router.features import lexical
from services.router.fit import Outcomes, Recipe, calibrated, fit_artefact
from services.router.predictor import Predictor
from services.router.prior import Prior, Source, fit_prior
from services.router.report import page
from services.router.scored import InvalidOutcomes, Scored, read_scored

_BYTES_PER_TOKEN, _OUTPUT_TOKENS = 4, 256  # of a prompt and of an answer, for what a call costs
_BATCH = 16


def router(arguments: argparse.Namespace) -> None:
    """Runs one action."""
    if arguments.action in ("versions", "rollback"):
        return change(arguments)
    try:
        encoder = SentenceEncoder(arguments.encoder, arguments.precision, threads=1)
        {"fit": _fit, "calibrate": _calibrate, "evaluate": _evaluate, "explain": _explain, "publish": _publish}[
            arguments.action
        ](arguments, encoder)
    except (InvalidOutcomes, ValueError, TensorRtMissing, CudaUnavailable) as error:
        raise ConfigError(str(error)) from error


def _fit(arguments: argparse.Namespace, encoder: SentenceEncoder) -> None:
    outcomes = _outcomes(_read(arguments.outcomes), encoder)
    prior = _prior(arguments.prior, encoder) if arguments.prior else None
    _keep(fit_artefact(outcomes, arguments.default, encoder.digest, Recipe(), prior), arguments.out)


def _calibrate(arguments: argparse.Namespace, encoder: SentenceEncoder) -> None:
    artefact = _loaded(arguments.artefact, encoder)
    outcomes = _outcomes(_read(arguments.outcomes).only(artefact.facts.models), encoder)
    _keep(calibrated(artefact, outcomes, np.arange(len(outcomes.prompts))), arguments.out)


def _evaluate(arguments: argparse.Namespace, encoder: SentenceEncoder) -> None:
    artefact = _loaded(arguments.artefact, encoder)
    scored = _read(arguments.outcomes).only(artefact.facts.models)
    scored = scored.at(np.flatnonzero(np.isfinite(scored.scores).all(axis=1)))
    if not len(scored):
        raise InvalidOutcomes("outcomes: no prompt has a score of every fitted model, expected some")
    predictor, outcomes = Predictor(artefact), _outcomes(scored, encoder)
    predictions = [predictor.predict(*row) for row in zip(outcomes.prompts, outcomes.embeddings, strict=True)]
    models, default = list(artefact.facts.models), artefact.facts.default_model
    costs = _costs(models, default, scored.prompts, arguments.price)
    losses = [[np.inf if one.unfamiliar else one.loss[model] for model in models] for one in predictions]
    rows = Predicted(
        models=models,
        default=models.index(default),
        quality=np.array([[one.quality[model] for model in models] for one in predictions]),
        losses=np.array(losses),
        scores=scored.scores,
        costs=costs,
        domains=scored.domains,
    )
    chosen = rows.within(_threshold(predictor, rows, arguments))
    unit = "micro-dollars a prompt" if arguments.price else f"calls of {default} a prompt"
    text = page(rows, chosen, arguments.max_quality_loss, arguments.confidence, unit, scored.remarks)
    arguments.html.write_text(text, encoding="utf-8")
    found, strong = rows.point(chosen), rows.always(rows.default)
    print(
        f"score {found.score:.3f}, always {default} {strong.score:.3f}; cost {found.cost:.4g}, {strong.cost:.4g} {unit}"
    )
    print(f"worse than {default} on {rows.harm(chosen):.2%} of prompts; the page is {arguments.html}")


def _publish(arguments: argparse.Namespace, encoder: SentenceEncoder) -> None:
    held = contest(arguments, _loaded(arguments.artefact, encoder))
    scored = _read(arguments.outcomes)
    if missing := sorted(set(held.models) - set(scored.models)):
        expected = "one of each model that the new router or the one that serves may choose"
        raise InvalidOutcomes(f"scores: got none of {', '.join(missing)}, expected {expected}")
    scored = scored.only(held.models)
    scored = scored.at(np.flatnonzero(np.isfinite(scored.scores).all(axis=1)))
    publish(arguments.artefact, held, _outcomes(scored, encoder))


def _threshold(predictor: Predictor, rows: Predicted, arguments: argparse.Namespace) -> float:
    order = np.argsort(rows.costs.mean(axis=0), kind="stable").tolist()
    rivals = tuple(rows.models[place] for place in order[: order.index(rows.default)])
    if not rivals:
        return -np.inf
    return predictor.calibration.threshold(rivals, arguments.max_quality_loss, arguments.confidence)


def _explain(arguments: argparse.Namespace, encoder: SentenceEncoder) -> None:
    artefact = _loaded(arguments.artefact, encoder)
    predictor, default = Predictor(artefact), artefact.facts.default_model
    vector = encoder.encode([encoder.tokenise(arguments.prompt)])[0]
    found, models = predictor.predict(arguments.prompt, vector), list(artefact.facts.models)
    costs = dict(zip(models, _costs(models, default, [arguments.prompt], arguments.price)[0], strict=True))
    rivals = sorted((model for model in models if costs[model] < costs[default]), key=lambda model: costs[model])
    limit = predictor.calibration.threshold(tuple(rivals), arguments.max_quality_loss, arguments.confidence)
    table = Table("model", "answers well", f"worse than {plain(default)}", "cost")
    for model in sorted(models, key=lambda model: costs[model]):
        table.add_row(plain(model), f"{found.quality[model]:.1%}", f"{found.loss[model]:.1%}", f"{costs[model]:.4g}")
    show(table)
    chosen = next((model for model in rivals if not found.unfamiliar and found.loss[model] < limit), default)
    if found.domain:
        print(f"domain: {found.domain}")
    print(f"uncertainty: ±{found.uncertainty:.1%} of a share of one half, from the fitted prompts nearby")
    print(f"unfamiliar: {found.unfamiliar or 'no'}")
    bound = f"{arguments.max_quality_loss:.3g}" + (f" at {arguments.confidence:.0%}" if arguments.confidence else "")
    print(f"chosen: {chosen}; a predicted loss must stay below {limit:.3g} for a bound of {bound}")


def _read(paths: Sequence[Path]) -> Scored:
    scored = read_scored(paths)
    for remark in scored.remarks:
        print(f"note: {remark}", file=sys.stderr)
    for model in scored.models:
        known = scored.of(model)
        if len(set(known[np.isfinite(known)] >= 0.5)) == 1:
            always = "always" if np.nanmean(known) >= 0.5 else "never"
            print(
                f"note: {model} {always} answers well: it gets the same expectation for every prompt", file=sys.stderr
            )
    return scored


def _outcomes(scored: Scored, encoder: SentenceEncoder) -> Outcomes:
    vectors = encoder_vectors(scored.prompts, encoder)
    scores = {model: scored.of(model) for model in scored.models}
    certainty = dict(zip(scored.models, scored.mean_logprobs.T, strict=True))
    return Outcomes(scored.prompts, vectors, scores, scored.groups, scored.domains, certainty)


def encoder_vectors(prompts: Sequence[str], encoder: SentenceEncoder) -> NDArray[np.float32]:
    """Embeddings [n, d], in batches without padding."""
    tokens = [encoder.tokenise(prompt) for prompt in prompts]
    order = sorted(range(len(tokens)), key=lambda row: len(tokens[row].ids))
    vectors = np.empty((len(tokens), 0), np.float32)
    start = 0
    while start < len(order):
        length = len(tokens[order[start]].ids)
        batch = [row for row in order[start : start + _BATCH] if len(tokens[row].ids) == length]
        found = encoder.encode([tokens[row] for row in batch])
        if not vectors.shape[1]:
            vectors = np.empty((len(tokens), found.shape[1]), np.float32)
        vectors[batch] = found
        start += len(batch)
    return vectors


def _prior(paths: Sequence[Path], encoder: SentenceEncoder) -> Prior:
    sources = []
    for path in paths:
        scored = _read([path])
        facts = np.stack([lexical(prompt) for prompt in scored.prompts])
        sources.append(Source(encoder_vectors(scored.prompts, encoder), facts, scored.scores))
    return fit_prior(sources)


def _loaded(path: Path, encoder: SentenceEncoder) -> Artefact:
    artefact = load_artefact(path)
    if artefact.facts.encoder_digest != encoder.digest:
        raise ConfigError(f"{path}: encoder_digest: fitted on another encoder or precision than --encoder, --precision")
    return artefact


def _costs(models: Sequence[str], default: str, prompts: Sequence[str], prices: Sequence[str]) -> NDArray[np.float64]:
    """Micro-dollars of each answer [n, m]; calls of the default where no prices are given."""
    known = _prices(prices)
    if not known:
        return np.tile([float(model == default) for model in models], (len(prompts), 1))
    if missing := sorted(set(models) - set(known)):
        raise ConfigError(f"--price: got none of {', '.join(missing)}, expected one for every fitted model")
    tokens = np.array([len(prompt.encode("utf-8", "replace")) / _BYTES_PER_TOKEN for prompt in prompts])
    return np.stack([tokens * known[model][0] + _OUTPUT_TOKENS * known[model][1] for model in models], axis=1)


def _prices(given: Sequence[str]) -> Mapping[str, tuple[float, float]]:
    found = {}
    for one in given:
        model, _, price = one.rpartition("=")
        try:
            paid = [float(part) for part in price.split("/")]
        except ValueError:
            paid = []
        if not model or len(paid) != 2 or not all(0 <= part < np.inf for part in paid):
            raise ConfigError(f"--price: got {one!r}, expected MODEL=IN/OUT, such as gpt-4o=2.5/10")
        found[model] = (paid[0], paid[1])
    return found


def _keep(artefact: Artefact, path: Path) -> None:
    artefact.save(path)
    facts = artefact.facts
    table = Table("model", "answers well", f"worse than {plain(facts.default_model)}", "AUC of answering well")
    for model in facts.models:
        auc = facts.metrics.get(f"quality_auc.{model}")
        shares = (f"{facts.metrics[f'{kind}.{model}']:.1%}" for kind in ("accuracy", "harm"))
        table.add_row(plain(model), *shares, "" if auc is None else f"{auc:.3f}")
    show(table)
    count = len(artefact.calibration_losses)
    print(f"fitted on {facts.fitted_prompts} prompts, calibrated on {count} others, as shown; wrote {path}")
