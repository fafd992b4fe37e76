"""What routing among several priced models costs at a quality, beside the best single one, kNN and the oracle.

The last line is JSON, described in docs/routing.md.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.routing.__main__ import summary
from benchmarks.routing.embedding import embedded
from services.router.ensemble import fit_ensemble
from services.router.evaluation import Point, Predicted, cost_at
from services.router.features import lexical
from services.router.prior import without_heads
from services.router.scored import InvalidOutcomes, Scored, read_scored

_PRICES = Path(__file__).with_name("pool_prices.json")
_BYTES_PER_TOKEN, _NEIGHBOURS = 4, 40


def costs(scored: Scored, prices: Path, output_tokens: int) -> NDArray[np.float64]:
    """Micro-dollars of each answer, [n, m]: of the prompt's bytes over four, and of as many output tokens for all."""
    table = json.loads(prices.read_text(encoding="utf-8"))["models"]
    tokens = np.array([len(prompt.encode()) / _BYTES_PER_TOKEN for prompt in scored.prompts])
    each = [tokens * table[model]["input"] + output_tokens * table[model]["output"] for model in scored.models]
    return np.stack(each, axis=1)


def one_draw(
    scored: Scored, vectors: NDArray[np.float32], spent: NDArray[np.float64], labels: int, seed: int
) -> dict[str, float]:
    """Costs at the best single model's score and at 95 % of it, over its cost."""
    order = np.random.default_rng(seed).permutation(len(scored))
    fitted, asked = order[:labels], order[labels:]
    facts = np.array([lexical(prompt) for prompt in scored.prompts])
    near = vectors[fitted], facts[fitted]
    domains = [scored.domains[row] for row in fitted]
    ensemble, _ = fit_ensemble(without_heads(*near), *near, scored.scores[fitted], domains, len(scored.models))
    best = int(scored.scores[fitted].mean(axis=0).argmax())
    neighbours = np.argsort(-(vectors[asked] @ vectors[fitted].T), axis=1)[:, :_NEIGHBOURS]
    ours = ensemble.predict(vectors[asked], facts[asked]).astype(np.float64)
    rows = Predicted(scored.models, best, ours, ours, scored.scores[asked], spent[asked], ())
    single = rows.always(best)
    ways = {"": ours, "knn_": scored.scores[fitted][neighbours].mean(axis=1), "oracle_": rows.scores}
    found = {"best_single_score": single.score}
    for name, quality in ways.items():
        points = [*rows.frontier(quality), single]
        found |= {f"{name}cost_at_equal": cost_at(points, single.score) / single.cost}
        found |= {f"{name}cost_at_95pct": cost_at(points, 0.95 * single.score) / single.cost}
        found |= {f"{name}best_score": max(point.score for point in points)}
    found["mixed_cost_at_95pct"] = _mixed(rows, single)
    return found


def _mixed(rows: Predicted, single: Point) -> float:
    """The cost at 95 % of the best single model's score of mixing it by chance with the best other one for that."""
    wanted, least = 0.95 * single.score, 1.0
    for place in range(len(rows.models)):
        other = rows.always(place)
        if other.cost < single.cost:
            share = 1.0 if other.score >= wanted else (single.score - wanted) / (single.score - other.score)
            least = min(least, 1 - share * (1 - other.cost / single.cost))
    return least


def main() -> None:
    """Prints the measures over the draws as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--outcomes", type=Path, required=True, help="labels are drawn from it, the rest evaluated")
    parser.add_argument("--labels", type=int, default=2500, help="(default: %(default)s)")
    parser.add_argument("--prices", type=Path, default=_PRICES, help="(default: %(default)s)")
    parser.add_argument("--output-tokens", type=int, default=300, help="of every answer (default: %(default)s)")
    parser.add_argument("--draws", type=int, default=20, help="(default: %(default)s)")
    parser.add_argument("--embeddings", type=Path, help="folder that keeps what the encoder says of each file")
    arguments = parser.parse_args()
    try:
        whole = read_scored([arguments.outcomes])
        known = json.loads(arguments.prices.read_text(encoding="utf-8"))["models"]
        scored = whole.only([model for model in whole.models if model in known])
    except InvalidOutcomes as error:
        sys.exit(f"error: {error}")
    kept = arguments.embeddings / (arguments.outcomes.name.split(".")[0] + ".npy") if arguments.embeddings else None
    usable = np.flatnonzero(np.isfinite(scored.scores).all(axis=1))
    vectors, scored = embedded(whole, kept)[usable], scored.at(usable)
    spent = costs(scored, arguments.prices, arguments.output_tokens)
    draws = [one_draw(scored, vectors, spent, arguments.labels, seed) for seed in range(arguments.draws)]
    print(json.dumps({"models": scored.models, **summary(draws)}))


if __name__ == "__main__":
    main()
