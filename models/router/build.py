"""Fits the shipped router on the reference models' outcomes, tests it on keys it never saw, and writes its card."""

import argparse
import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.router.card import write_card
from services.executor.sentence_encoder import SentenceEncoder
from services.router.artefact import load_artefact
from services.router.fit import Outcomes, Recipe, fit_artefact
from services.router.harm import harms
from services.router.predictor import Predictor

HERE = Path(__file__).parent
CHEAP, STRONG = "fulcrum-small", "fulcrum-large"
BOUNDS = (0.01, 0.02, 0.05, 0.1)


@dataclass(frozen=True)
class Measured:
    """What one bound gave on the test prompts, as shares of all of them."""

    bound: float
    confidence: float | None
    sent: float
    quality: float
    harm: float
    random_quality: float
    random_harm: float


def read(path: Path) -> Sequence[Mapping[str, Any]]:
    """The rows of a gzipped JSON lines file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def outcomes(rows: Sequence[Mapping[str, Any]], encoder: SentenceEncoder) -> Outcomes:
    """Rows with their embeddings, grouped by what they ask, so that no wording of a question is on both sides."""
    prompts = [row["prompt"] for row in rows]
    return Outcomes(
        prompts=prompts,
        embeddings=np.concatenate([encoder.encode([encoder.tokenise(prompt)]) for prompt in prompts]),
        scores={model: np.array([row["scores"][model] for row in rows], float) for model in (CHEAP, STRONG)},
        groups=[f"{row['domain']} {row['key']}" for row in rows],
        domains=[row["domain"] for row in rows],
    )


def measure(predictor: Predictor, test: Outcomes, losses: NDArray[np.float64]) -> Iterable[Measured]:
    """Each bound on the test prompts, on average and at 90 % confidence, beside random choice of as many prompts."""
    cheap, strong = test.scores[CHEAP], test.scores[STRONG]
    harmed = harms(cheap, strong)
    for confidence in (None, 0.9):
        for bound in BOUNDS:
            sent = losses < predictor.calibration.threshold((CHEAP,), bound, confidence)
            share = float(sent.mean())
            yield Measured(
                bound=bound,
                confidence=confidence,
                sent=share,
                quality=float(np.where(sent, cheap, strong).mean()),
                harm=float((sent & harmed).mean()),
                random_quality=share * float(cheap.mean()) + (1 - share) * float(strong.mean()),
                random_harm=share * float(harmed.mean()),
            )


def predicted_losses(predictor: Predictor, test: Outcomes) -> NDArray[np.float64]:
    """The cheap model's predicted loss on each test prompt, infinite where it is unfamiliar."""
    predictions = [predictor.predict(*row) for row in zip(test.prompts, test.embeddings, strict=True)]
    return np.array([np.inf if one.unfamiliar else one.loss[CHEAP] for one in predictions])


def main() -> None:
    """Fit, test, and write artefact and card."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--outcomes", type=Path, default=HERE.parent / "outcomes.jsonl.gz")
    arguments.add_argument("--encoder", type=Path, default=Path(".models/all-MiniLM-L6-v2"))
    arguments.add_argument("--precision", choices=("fp32", "int8"), default="fp32")
    arguments.add_argument("--out", type=Path, default=HERE)
    options = arguments.parse_args()
    encoder = SentenceEncoder(options.encoder, options.precision, threads=1)
    rows = read(options.outcomes)
    fit, test = (outcomes([row for row in rows if row["split"] == split], encoder) for split in ("fit", "test"))
    path = options.out / "router.safetensors"
    fit_artefact(fit, STRONG, encoder.digest, Recipe()).save(path)
    artefact = load_artefact(path)
    predictor = Predictor(artefact)
    losses = predicted_losses(predictor, test)
    write_card(options.out, artefact, options.precision, test, losses.tolist(), measure(predictor, test, losses))
    print((options.out / "README.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
