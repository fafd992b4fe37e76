"""What `fulcrum router` reads: outcomes with remarks about them, what the encoder says of prompts, and prices."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.chassis.settings import ConfigError
from services.executor.sentence_encoder import SentenceEncoder
from services.router.artefact import Artefact, load_artefact
from services.router.fit import Outcomes
from services.router.scored import InvalidOutcomes, Scored, read_scored
from services.router.unseen import unseen

_BATCH = 16


def read(paths: Sequence[Path]) -> Scored:
    """The outcomes of these files, with remarks on what was made of them."""
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


def loaded(path: Path, encoder: SentenceEncoder) -> Artefact:
    """The fitted router in a file; ConfigError where it is none, or was fitted on another encoder."""
    artefact = load_artefact(path)
    if artefact.facts.encoder_digest != encoder.digest:
        raise ConfigError(f"{path}: encoder_digest: fitted on another encoder or precision than --encoder, --precision")
    return artefact


def whole(scored: Scored, models: Sequence[str]) -> Scored:
    """The prompts that all of these models have a score of.

    Raises:
        InvalidOutcomes: there is none, or no score at all of a model.
    """
    if missing := ", ".join(sorted(set(models) - set(scored.models))):
        raise InvalidOutcomes(f"scores: got none of {missing}, expected one of each model: {', '.join(models)}")
    known = scored.only(models)
    rows = np.flatnonzero(np.isfinite(known.scores).all(axis=1))
    if not len(rows):
        raise InvalidOutcomes(f"scores: no prompt has one of each of {', '.join(models)}, expected some")
    return known.at(rows)


def new_to(artefacts: Sequence[Artefact], outcomes: Outcomes, calibrated: bool = False) -> Outcomes:
    """As `unseen`, with a remark on how many prompts are left out."""
    found = unseen(artefacts, outcomes, calibrated)
    if seen := len(outcomes.prompts) - len(found.prompts):
        how = "fitted or calibrated" if calibrated else "fitted"
        why = f"left out, as the router was {how} on them, or on others of their groups"
        print(f"note: {seen} of {len(outcomes.prompts)} prompts are {why}", file=sys.stderr)
    return found


def embedded(scored: Scored, encoder: SentenceEncoder) -> Outcomes:
    """The outcomes with their embeddings."""
    vectors = encoder_vectors(scored.prompts, encoder)
    scores = {model: scored.of(model) for model in scored.models}
    sure = (dict(zip(scored.models, one.T, strict=True)) for one in (scored.mean_logprobs, scored.agreements))
    return Outcomes(scored.prompts, vectors, scores, scored.groups, scored.domains, *sure)


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


def prices(given: Sequence[str], models: Sequence[str]) -> Mapping[str, tuple[float, float]]:
    """Dollars per million tokens of prompt and answer by model, one of these, from MODEL=IN/OUT.

    Raises:
        ConfigError: shows what a price looks like.
    """
    found = {}
    for one in given:
        model, _, price = one.rpartition("=")
        try:
            paid = [float(part) for part in price.split("/")]
        except ValueError:
            paid = []
        if not model or len(paid) != 2 or not all(0 <= part < np.inf for part in paid):
            raise ConfigError(f"--price: got {one!r}, expected MODEL=IN/OUT, such as gpt-4o=2.5/10")
        if model not in models:
            raise ConfigError(f"--price: got {model!r}, expected one of {', '.join(models)}")
        found[model] = (paid[0], paid[1])
    return found
