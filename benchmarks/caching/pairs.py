"""`pairs`: how many labelled pairs may share an answer at a bound on wrong ones, by a verifier of other pairs."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta
from sklearn.ensemble import HistGradientBoostingClassifier

from benchmarks.caching.corpus import rows_of, vectors_of
from benchmarks.caching.pair_features import PairFeatures

_BOUNDS = {"at_1pct": 0.01, "at_2pct": 0.02, "at_5pct": 0.05}
_TREES = 4  # boosted ensembles whose log-odds are averaged
_FOLDS = 5  # of connected questions; the last one calibrates
_LEAST_GAIN = 1.05  # of coverage on the calibration fold, for the verifier to stand in for the cosine

Scores = NDArray[np.float64]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.add_argument("--fit", type=Path, required=True, help=".jsonl[.gz] of `text_a`, `text_b` and `label`")
    parser.add_argument("--test", type=Path, required=True, help="the same of other pairs, to measure on")
    parser.add_argument("--bound", type=float, default=0.02, help="share of all pairs that may be served wrongly")


def run(arguments: argparse.Namespace) -> None:
    """Prints coverage by bound, and the realised error of the threshold that calibration chose, as JSON."""
    fit, test = rows_of(arguments.fit), rows_of(arguments.test)
    features = PairFeatures([row[key] for row in fit for key in ("text_a", "text_b")])
    x_fit, x_test = (_matrix(features, rows) for rows in (fit, test))
    y_fit, y_test = (np.array([bool(row["label"]) for row in rows]) for rows in (fit, test))
    held = folds_of(fit) == _FOLDS - 1
    verifier = _train(x_fit[~held], y_fit[~held])
    calibrated = {"verifier": _score(verifier, x_fit[held]), "cosine": x_fit[held, 0]}
    gains = {name: _covered(scores, y_fit[held], arguments.bound) for name, scores in calibrated.items()}
    chosen = "verifier" if gains["verifier"] >= _LEAST_GAIN * gains["cosine"] else "cosine"
    scores = _score(verifier, x_test) if chosen == "verifier" else x_test[:, 0]
    threshold = _threshold(calibrated[chosen], y_fit[held], arguments.bound)
    print(
        json.dumps(
            {
                "coverage": _coverage(scores, y_test),
                "realised": _realised(scores >= threshold, y_test),
                "cosine": _coverage(x_test[:, 0], y_test),
                "chosen": chosen,
                "calibration_coverage": {name: round(value, 4) for name, value in gains.items()},
            }
        )
    )


def _matrix(features: PairFeatures, rows: Sequence[dict[str, str]]) -> Scores:
    pairs = [(row["text_a"], row["text_b"]) for row in rows]
    vectors = vectors_of([text for pair in pairs for text in pair])
    cosines = np.nan_to_num((vectors[0::2] * vectors[1::2]).sum(1))  # an empty text has no embedding
    return features.matrix(pairs, cosines)


def folds_of(rows: Sequence[dict[str, str]]) -> NDArray[np.int64]:
    """The fold of each pair, so that questions that are connected by pairs fall into one."""
    parents: dict[str, str] = {}

    def root(text: str) -> str:
        while parents.setdefault(text, text) != text:
            parents[text] = parents[parents[text]]
            text = parents[text]
        return text

    for row in rows:
        parents[root(row["text_a"])] = root(row["text_b"])
    roots = [root(row["text_a"]) for row in rows]
    names = sorted(set(roots))
    folds = np.random.default_rng(0).integers(0, _FOLDS, len(names))
    of = dict(zip(names, folds.tolist(), strict=True))
    return np.array([of[name] for name in roots])


def _train(x: Scores, y: NDArray[np.bool_]) -> list[HistGradientBoostingClassifier]:
    return [
        HistGradientBoostingClassifier(
            max_iter=250,
            learning_rate=0.05,
            max_leaf_nodes=15,
            min_samples_leaf=40,
            l2_regularization=5,
            max_features=0.5,
            random_state=seed,
        ).fit(x, y)
        for seed in range(_TREES)
    ]


def _score(verifier: Sequence[HistGradientBoostingClassifier], x: Scores) -> Scores:
    return np.asarray(np.mean([member.decision_function(x) for member in verifier], 0))


def _threshold(scores: Scores, right: NDArray[np.bool_], bound: float) -> float:
    """The lowest score from which at most `bound` of all pairs are served wrongly."""
    order = np.argsort(-scores, kind="stable")
    within = np.flatnonzero(np.cumsum(~right[order]) <= bound * len(right))
    return float(scores[order[within[-1]]]) if len(within) else float("inf")


def _covered(scores: Scores, right: NDArray[np.bool_], bound: float) -> float:
    return float((scores >= _threshold(scores, right, bound)).mean())


def _coverage(scores: Scores, right: NDArray[np.bool_]) -> dict[str, float]:
    return {name: round(_covered(scores, right, bound), 4) for name, bound in _BOUNDS.items()}


def _realised(served: NDArray[np.bool_], right: NDArray[np.bool_]) -> dict[str, object]:
    """Of the threshold chosen on calibration pairs: coverage, wrong of all, and its 95 % interval (Clopper-Pearson)."""
    wrong, of = int((served & ~right).sum()), len(right)
    low = float(beta.ppf(0.025, wrong, of - wrong + 1)) if wrong else 0.0
    high = float(beta.ppf(0.975, wrong + 1, of - wrong))
    return {
        "coverage": round(float(served.mean()), 4),
        "wrong_of_all": round(wrong / of, 5),
        "interval": [round(low, 5), round(high, 5)],
    }
