"""Writes the shipped router's card from its artefact and what was measured on the test prompts."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from services.router.artefact import Artefact
from services.router.features import LEXICAL_FEATURES
from services.router.fit import Outcomes
from services.router.harm import harms

if TYPE_CHECKING:
    from models.router.build import Measured

CARD = """---
license: apache-2.0
language: en
---
# The shipped router

Predicts, from a prompt's embedding and {lexical} facts about its words, how likely each reference model answers well
and how likely `{cheap}` is wrong where `{strong}` is right: a kernel machine on {landmarks} landmarks, averaged with
what each of {domains} domains says and with a line. {kilobytes} KB, no code in it: `services/router/artefact.py` says
what it holds: no prompt, but a 64-bit digest of each that it was fitted or calibrated on.

Fitted by `python -m models.router.build` on {fitted:,} prompts of `models/outcomes.jsonl.gz`, calibrated on
{calibrated:,} others; no question is in both, in any wording. Embeddings of any encoder but all-MiniLM-L6-v2 in
{precision} are refused; its digest is `{digest}`.

## Test
{tested:,} prompts whose questions were in neither part. Prompts that ask the same share their fate, so these figures
rest on {questions:,} questions.

| policy | sent to {cheap} | quality | harm |
|---|---:|---:|---:|
| always {strong} | 0.0% | {strong_quality:.1%} | 0.0% |
| always {cheap} | 100.0% | {cheap_quality:.1%} | {cheap_harm:.1%} |

Quality is the share of right answers; harm the share of all prompts that were sent to the cheap model, which was wrong
where the strong one is right. Random sends as many prompts, chosen by chance.

| bound on harm | sent to {cheap} | quality | harm | random: quality | random: harm |
|---|---:|---:|---:|---:|---:|
{rows}

Area under the ROC curve on the calibration prompts, for answering well: {aucs}.

## Limits
It knows the kinds of question that the reference models were taught. {unfamiliar:.1%} of the test prompts are
unlike all it was fitted on and go to `{strong}`, as do prompts of more than {characters} characters and whatever else
is far from them; that guards against strangers, it does not make it know them. Its bound is a promise for prompts drawn
as the calibration prompts were: for other models or other traffic, fit your own (`services/router/fit.py`). The
bound is kept by questions, not by prompts, as these are many wordings of few questions.
"""


def write_card(
    folder: Path,
    artefact: Artefact,
    precision: str,
    test: Outcomes,
    losses: Sequence[float],
    measured: "Iterable[Measured]",
) -> None:
    """Writes `README.md` beside the artefact; `losses` are predicted of the test prompts."""
    facts = artefact.facts
    strong_model = facts.default_model
    (cheap_model,) = (model for model in facts.models if model != strong_model)
    cheap, strong = test.scores[cheap_model], test.scores[strong_model]
    card = CARD.format(
        cheap=cheap_model,
        lexical=len(LEXICAL_FEATURES),
        landmarks=len(artefact.ensemble.landmarks),
        domains=len(facts.domains),
        strong=strong_model,
        kilobytes=round((folder / "router.safetensors").stat().st_size / 1000),
        fitted=facts.fitted_prompts,
        calibrated=len(artefact.calibration_losses),
        precision=precision,
        digest=facts.encoder_digest,
        tested=len(test.prompts),
        questions=len(set(test.groups)),
        strong_quality=strong.mean(),
        cheap_quality=cheap.mean(),
        cheap_harm=harms(cheap, strong).mean(),
        rows="\n".join(_row(one) for one in measured),
        aucs=", ".join(f"`{model}` {facts.metrics[f'quality_auc.{model}']:.3f}" for model in facts.models),
        unfamiliar=np.isinf(losses).mean(),
        characters=facts.most_characters,
    )
    (folder / "README.md").write_text(card, encoding="utf-8")


def _row(one: "Measured") -> str:
    promise = f"{one.bound:.0%}" + (f" at {one.confidence:.0%} confidence" if one.confidence else " on average")
    shares = (one.sent, one.quality, one.harm, one.random_quality, one.random_harm)
    return f"| {promise} | " + " | ".join(f"{share:.1%}" for share in shares) + " |"
