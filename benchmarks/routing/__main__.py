"""What routing between two models gives on public outcomes; the last line is JSON, described in docs/routing.md."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.routing.decision import cpu_us
from benchmarks.routing.disturb import DISTURBANCES
from benchmarks.routing.draws import Prompts, promise, ranking
from benchmarks.routing.embedding import embedded, encoded
from services.router.features import lexical
from services.router.prior import Prior
from services.router.prior_fit import Source, fit_prior
from services.router.scored import InvalidOutcomes, read_scored

_MOST_FITTED, _FEWEST_TIMED, _DISTURBED, _FITS = 6000, 300, 1500, 10


def summary(draws: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float | list[float]]]:
    """Mean of each measure over draws, and the interval that holds 95 % of the draws."""
    found: dict[str, dict[str, float | list[float]]] = {}
    for name in draws[0]:
        values = [draw[name] for draw in draws]
        interval = [round(float(edge), 4) for edge in np.percentile(values, (2.5, 97.5))]
        found[name] = {"mean": round(float(np.mean(values)), 4), "interval": interval}
    return found


def robustness(
    prompts: Prompts, texts: Sequence[str], usable: NDArray[np.intp], labels: int, draws: int
) -> dict[str, dict[str, dict[str, float | list[float]]]]:
    """Of decisions at half strong calls: percent that a disturbance turns, points of mean score that this costs.

    The same prompts, 1,500 or what the labels leave, are decided by fits on `draws` draws of labels among the others.
    """
    order = np.random.default_rng(0).permutation(usable)
    count = min(_DISTURBED, len(order) - labels)
    asked, rest = order[:count], order[count:]
    fits = [np.random.default_rng(seed).permutation(rest)[:labels] for seed in range(draws)]
    before = [prompts.gains(labelled, asked) for labelled in fits]
    found = {}
    for name, disturb in DISTURBANCES.items():
        changed = [disturb(texts[row]) for row in asked]
        other = replace(
            prompts,
            embeddings=np.concatenate((prompts.embeddings, encoded(changed))),
            lexical=np.concatenate((prompts.lexical, [lexical(text) for text in changed])),
        )
        told = []
        for labelled, plain in zip(fits, before, strict=True):
            gains, cut = other.gains(labelled, len(texts) + np.arange(len(asked))), np.median(plain)
            turned = (gains > cut) != (plain > cut)
            lost = np.where(gains > cut, -1, 1) * turned * (prompts.strong - prompts.weak)[asked]
            told.append({"flips": 100 * float(turned.mean()), "lost": 100 * float(lost.mean())})
        found[name] = summary(told)
    return found


def based_on(paths: Sequence[Path], cache: Callable[[Path], Path | None]) -> Prior | None:
    """What the fit files tell; None where there are none."""
    sources = []
    for path in paths:
        scored = read_scored([path])
        rows = np.random.default_rng(0).permutation(len(scored))[:_MOST_FITTED]
        facts = np.array([lexical(scored.prompts[row]) for row in rows])
        sources.append(Source(embedded(scored, cache(path))[rows], facts, scored.scores[rows]))
    return fit_prior(sources) if sources else None


def report(arguments: argparse.Namespace) -> dict[str, object]:
    """All measures over the draws."""

    def cache(path: Path) -> Path | None:
        return arguments.embeddings / (path.name.split(".")[0] + ".npy") if arguments.embeddings else None

    test = read_scored([arguments.test])
    strong, weak = test.of(arguments.strong), test.of(arguments.weak)
    lexicals, vectors = np.array([lexical(prompt) for prompt in test.prompts]), embedded(test, cache(arguments.test))
    prior = based_on(arguments.fit, cache)
    prompts = Prompts(vectors, lexicals, test.domains, strong, weak, prior)
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
        gains = prompts.gains(labelled, asked) if len(labelled) else prompts.unlabelled(asked)
        ours.append(ranking(prompts.curve(gains, asked), mean))
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
    if arguments.labels:
        labelled = np.random.default_rng(0).permutation(usable)[: arguments.labels]
        if arguments.labels >= _FEWEST_TIMED:
            found.update(cpu_us(prompts, test.prompts, labelled, arguments.max_quality_loss))
        if arguments.robustness:
            found["flips_pct"] = robustness(
                prompts, test.prompts, usable, arguments.labels, min(arguments.draws, _FITS)
            )
    return found


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
    parser.add_argument("--robustness", action="store_true", help="also count decisions that disturbed prompts turn")
    parser.add_argument("--embeddings", type=Path, help="folder that keeps what the encoder says of each file")
    try:
        print(json.dumps(report(parser.parse_args())))
    except InvalidOutcomes as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
