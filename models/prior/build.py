"""Fits the shipped prior on public outcomes whose licences permit it, and writes its card."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.cli.router_reading import encoder_vectors, read
from services.executor.sentence_encoder import SentenceEncoder
from services.router.features import LEXICAL_FEATURES, lexical
from services.router.prior_file import save_prior
from services.router.prior_fit import Source, fit_prior
from services.router.scored import Scored

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Body:
    """One body of public outcomes: what was asked, who published which models' outcomes, and both licences."""

    questions: str
    outcomes: str
    licence: str


# In this order: the first one's strongest models rank prompts where there is no outcome at all.
BODIES: Mapping[str, Body] = {
    "mmlu-pro": Body("MMLU-Pro, less what it took from MMLU", "its published outputs", "Apache-2.0 (both)"),
    "zeroeval": Body("MATH level 5 and CRUXEval", "ZeroEval's published outputs", "MIT and MIT; Apache-2.0"),
    "routellm-mmlu": Body("half of MMLU", "RouteLLM's evaluations", "MIT; Apache-2.0"),
    "routellm-gsm8k": Body("a third of GSM8K's test part", "RouteLLM's evaluations", "MIT; Apache-2.0"),
}
CARD = """---
license: apache-2.0
language: en
---
# The shipped prior

Tells, from a prompt's embedding and {lexical} facts about its words, how hard it is and for which kind of model:
{heads} heads of a kernel machine on {landmarks} landmarks, which repeats what one for each body of outcomes says.
`fulcrum router fit` gives them to every router as features, so that a few hundred outcomes of one's own are enough;
`--prior` without a file leaves them out. {kilobytes} KB, no code in it: `services/router/prior_file.py` says what
it holds.

Fitted by `python -m models.prior.build NAME=FILE ...` on these outcomes, all of permissive licences:

| name | questions | outcomes | licences | prompts | models |
|---|---|---|---|---:|---:|
{rows}

A file is JSON lines: `prompt`, `scores` (model: 0 to 1). A landmark is the midst of some prompts, in {directions}
directions of their embeddings and by those facts; no text is in the file. Embeddings of any encoder but
all-MiniLM-L6-v2 in fp32 are refused; its digest is `{digest}`.

## What it is worth
`docs/routing.md` has it, measured on MMLU with a prior that was fitted without MMLU. One of all bodies cannot be
measured on them.

## Limits
English questions with one right answer. Heads name no model: who is strong now was not among the models asked then. On
prompts unlike these questions the heads say what is usual, and a router fitted on its operator's outcomes learns to
leave them out.
"""


def main() -> None:
    """Fit, and write prior and card."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("outcomes", nargs="+", metavar="NAME=FILE", help=f"of {', '.join(BODIES)}")
    arguments.add_argument("--encoder", type=Path, default=Path(".models/all-MiniLM-L6-v2"))
    arguments.add_argument("--out", type=Path, default=HERE)
    options = arguments.parse_args()
    given = dict(one.split("=", 1) for one in options.outcomes)
    if unknown := set(given) - set(BODIES):
        arguments.error(f"got {', '.join(sorted(unknown))}, expected of {', '.join(BODIES)}")
    encoder = SentenceEncoder(options.encoder, "fp32", threads=1)
    bodies = {name: read([Path(given[name])]) for name in BODIES if name in given}
    prior = fit_prior([_source(scored, encoder) for scored in bodies.values()])
    path = options.out / "prior.safetensors"
    save_prior(prior, path, encoder.digest)
    text = CARD.format(
        lexical=len(LEXICAL_FEATURES),
        heads=len(prior.offset),
        landmarks=len(prior.landmarks),
        kilobytes=path.stat().st_size // 1024,
        rows="\n".join(_row(name, scored) for name, scored in bodies.items()),
        directions=prior.projection.shape[1],
        digest=encoder.digest,
    )
    (options.out / "README.md").write_text(text, encoding="utf-8")
    print(text)


def _source(scored: Scored, encoder: SentenceEncoder) -> Source:
    facts = np.stack([lexical(prompt) for prompt in scored.prompts])
    return Source(encoder_vectors(scored.prompts, encoder), facts, scored.scores)


def _row(name: str, scored: Scored) -> str:
    body = BODIES[name]
    told = f"{body.questions} | {body.outcomes} | {body.licence}"
    return f"| `{name}` | {told} | {len(scored):,} | {len(scored.models)} |"


if __name__ == "__main__":
    main()
