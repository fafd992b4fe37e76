"""What routing between two models gives on public outcomes; the last line is JSON, described in docs/routing.md."""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.routing.draws import Prompts, promise, ranking
from services.executor.sentence_encoder import SentenceEncoder
from services.router.features import lexical
from services.router.gain import fit_gains
from services.router.scored import InvalidOutcomes, Scored, read_scored

_ENCODER, _BATCH, _MOST_FITTED, _MODELS = Path(".models/all-MiniLM-L6-v2"), 16, 3000, 20


def embedded(scored: Scored, kept: Path | None) -> NDArray[np.float32]:
    """Embeddings [n, d] of the prompts, read from `kept` where it holds as many rows, else encoded and kept there."""
    if kept is not None and kept.exists() and len(found := np.load(kept)) == len(scored):
        return np.asarray(found, np.float32)
    encoder = SentenceEncoder(_ENCODER, "fp32", threads=1)
    tokens = [encoder.tokenise(prompt) for prompt in scored.prompts]
    by_length: dict[int, list[int]] = {}
    for row, found_tokens in enumerate(tokens):
        by_length.setdefault(len(found_tokens.ids), []).append(row)
    rows: dict[int, NDArray[np.float32]] = {}
    for same in by_length.values():  # a batch has no padding
        for start in range(0, len(same), _BATCH):
            batch = same[start : start + _BATCH]
            rows.update(zip(batch, encoder.encode([tokens[row] for row in batch]), strict=True))
    vectors = np.stack([rows[row] for row in range(len(tokens))])
    if kept is not None:
        np.save(kept, vectors)
    return vectors


def summary(draws: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float | list[float]]]:
    """Mean of each measure over draws, and the interval that holds 95 % of the draws."""
    found: dict[str, dict[str, float | list[float]]] = {}
    for name in draws[0]:
        values = [draw[name] for draw in draws]
        interval = [round(float(edge), 4) for edge in np.percentile(values, (2.5, 97.5))]
        found[name] = {"mean": round(float(np.mean(values)), 4), "interval": interval}
    return found


def cpu_us(test: Scored, vectors: NDArray[np.float32], kept: int) -> float:
    """Microseconds of CPU for one decision among 20 models, embedding given, with as many kept prompts as all heads."""
    facts = np.array([lexical(prompt) for prompt in test.prompts[:500]])
    few = fit_gains(vectors[:500], facts, np.ones((len(facts), _MODELS), np.float32))
    sizes = np.resize(np.arange(len(few.kept)), kept)
    model = replace(few, kept=few.kept[sizes], norms=few.norms[sizes], duals=few.duals[sizes])
    started = time.process_time()
    for row, prompt in enumerate(test.prompts[:500]):
        model.predict(vectors[row : row + 1], lexical(prompt)[None])
    return (time.process_time() - started) / len(facts) * 1e6


def report(arguments: argparse.Namespace) -> dict[str, object]:
    """All measures over the draws."""
    cache = (lambda path: arguments.embeddings / (path.name.split(".")[0] + ".npy")) if arguments.embeddings else None
    test = read_scored([arguments.test])
    lexicals = np.array([lexical(prompt) for prompt in test.prompts])
    vectors = embedded(test, cache(arguments.test) if cache else None)
    hardness, heads = np.zeros(len(test), np.float32), 0
    for path in arguments.fit:
        scored = read_scored([path])
        rows = np.random.default_rng(0).permutation(len(scored))[:_MOST_FITTED]
        heads += len(rows)
        known = embedded(scored, cache(path) if cache else None)[rows]
        facts = np.array([lexical(scored.prompts[row]) for row in rows])
        mean = np.nanmean(scored.scores[rows], axis=1, keepdims=True).astype(np.float32)
        scores = fit_gains(known, facts, mean).predict(vectors, lexicals)[:, 0]
        hardness -= (scores - scores.mean()) / (scores.std() + 1e-9)
    prompts = Prompts(vectors, lexicals, test.of(arguments.strong), test.of(arguments.weak), hardness)
    usable = np.flatnonzero(np.isfinite(prompts.strong) & np.isfinite(prompts.weak))
    if len(usable) < arguments.labels + 2 or arguments.labels == 1:
        raise InvalidOutcomes(f"--labels: got {arguments.labels}, expected 0 or from 2 to {len(usable) - 2}")
    if prompts.strong[usable].mean() <= prompts.weak[usable].mean():
        raise InvalidOutcomes("--strong: expected a model with a higher mean score than --weak")
    ours, kept, nearest = [], [], []
    for seed in range(arguments.draws):
        order = np.random.default_rng(seed).permutation(usable)
        labelled, asked = order[: arguments.labels], order[arguments.labels :]
        mean = float(prompts.strong[asked].mean())
        ours.append(ranking(prompts.curve(prompts.gains(labelled, asked), asked), mean))
        if arguments.labels >= 10:
            kept.append(promise(prompts, labelled, asked, arguments.max_quality_loss, arguments.confidence))
            nearest.append(ranking(prompts.curve(prompts.neighbours(labelled, asked), asked), mean))
    found: dict[str, object] = {**summary(ours), **(summary(kept) if kept else {})}
    found["saving"] = {f"at_{share}pct": found.pop(f"saving_{share}") for share in (95, 99, 100)}
    found["baselines"] = {
        "always_cheap": {"quality": round(float(prompts.weak[usable].mean()), 4)},
        "always_strong": {"quality": round(float(prompts.strong[usable].mean()), 4)},
        "random": {"apgr": 0.5, "cpt50": 50.0, "cpt80": 80.0},
        **({"knn": summary(nearest)} if nearest else {}),
    }
    return {**found, "cpu_us": round(cpu_us(test, vectors, arguments.labels + heads), 1)}


def main() -> None:
    """Prints the report as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fit", type=Path, nargs="*", default=[], help="outcomes of other prompts and models")
    parser.add_argument("--test", type=Path, required=True, help="outcomes: labels are drawn, the rest evaluated")
    parser.add_argument("--strong", required=True)
    parser.add_argument("--weak", required=True)
    parser.add_argument("--labels", type=int, required=True, help="0 for the fit files alone")
    parser.add_argument("--max-quality-loss", type=float, required=True, help="most harms, as a share of all prompts")
    parser.add_argument("--confidence", type=float, required=True)
    parser.add_argument("--draws", type=int, default=20, help="(default: %(default)s)")
    parser.add_argument("--embeddings", type=Path, help="folder that keeps what the encoder says of each file")
    try:
        print(json.dumps(report(parser.parse_args())))
    except InvalidOutcomes as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
