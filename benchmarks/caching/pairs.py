"""`pairs`: how many labelled pairs may share an answer at a bound on wrong ones, by a verifier of other pairs."""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from benchmarks.caching.corpus import ENCODER, rows_of
from benchmarks.caching.pair_features import PairFeatures
from benchmarks.caching.pair_scope import Asked, asked, in_a_scope
from benchmarks.caching.pair_tokens import PairTokens
from benchmarks.caching.pair_verifier import PairVerifier, Shown, products, strangeness
from benchmarks.caching.pair_words import changes
from benchmarks.caching.token_states import TokenStates

_BOUNDS = {"at_1pct": 0.01, "at_2pct": 0.02, "at_5pct": 0.05}
_FOLDS = 5  # of connected questions
_LEAST_GAIN = 1.05  # of coverage of pairs not trained on, for the verifier to stand in for the cosine
_STRANGE = 0.65  # from which pairs are of another source than those that it was trained on

Scores = NDArray[np.float64]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.add_argument("--fit", type=Path, required=True, help=".jsonl[.gz] of `text_a`, `text_b` and `label`")
    parser.add_argument("--test", type=Path, required=True, help="the same of other pairs, to measure on")
    parser.add_argument("--bound", type=float, default=0.02, help="share of all pairs that may be served wrongly")


def run(arguments: argparse.Namespace) -> None:
    """Prints coverage by bound, and the realised error of the threshold that calibration chose, as JSON."""
    fit_rows, test_rows = rows_of(arguments.fit), rows_of(arguments.test)
    seen = [text for row in fit_rows for text in (row["text_a"], row["text_b"])]
    described, tokens = PairFeatures(seen), PairTokens(TokenStates(ENCODER), seen)
    fit, test = Labelled(fit_rows, tokens), Labelled(test_rows, tokens)
    verifier = PairVerifier(fit.shown(described), fit.same, folds_of(fit.pairs))
    calibrated = {"verifier": verifier.unseen, "cosine": fit.cosines}
    measured = {"verifier": verifier.score(test.shown(described)), "cosine": test.cosines}
    gains = {name: _covered(scores, fit.same, arguments.bound) for name, scores in calibrated.items()}
    strange = strangeness(fit.vectors, test.vectors)
    wins = gains["verifier"] >= _LEAST_GAIN * gains["cosine"] and strange < _STRANGE
    chosen = "verifier" if wins else "cosine"
    threshold = _threshold(calibrated[chosen], fit.same, arguments.bound, spare=1)
    print(
        json.dumps(
            {
                "coverage": _coverage(measured[chosen], test.same),
                "realised": _realised(measured[chosen] >= threshold, test.same),
                "cosine": _coverage(measured["cosine"], test.same),
                "chosen": chosen,
                "verifier": _coverage(measured["verifier"], test.same),
                "calibration_coverage": {name: round(value, 4) for name, value in gains.items()},
                "strangeness": round(strange, 3),
                "in_a_scope": in_a_scope(fit.asked(), test.asked(), arguments.bound),
            }
        )
    )


class Labelled:
    """The pairs of a file, their embeddings one after another, and which of them may share an answer."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], tokens: PairTokens) -> None:
        self.pairs = [(row["text_a"], row["text_b"]) for row in rows]
        self.same = np.array([bool(row["label"]) for row in rows])
        self._met = tokens.met(self.pairs)
        self.vectors = self._met.vectors
        self.cosines = (self.vectors[0::2] * self.vectors[1::2]).sum(1)

    def shown(self, described: PairFeatures) -> Shown:
        """What a verifier is shown of them."""
        features = np.column_stack([described.matrix(self.pairs, self.cosines), self._met.aligned])
        return Shown(features, np.hstack([products(self.vectors), self._met.apart]), changes(self.pairs))

    def asked(self) -> Asked:
        """The pairs as requests of a scope."""
        return asked(self.pairs, self.cosines, self.same)


def folds_of(pairs: Sequence[tuple[str, str]]) -> NDArray[np.int64]:
    """The fold of each pair, so that questions that are connected by pairs fall into one."""
    parents: dict[str, str] = {}

    def root(text: str) -> str:
        while parents.setdefault(text, text) != text:
            parents[text] = parents[parents[text]]
            text = parents[text]
        return text

    for one, other in pairs:
        parents[root(one)] = root(other)
    roots = [root(one) for one, _ in pairs]
    names = sorted(set(roots))
    folds = np.random.default_rng(0).integers(0, _FOLDS, len(names))
    of = dict(zip(names, folds.tolist(), strict=True))
    return np.array([of[name] for name in roots])


def _threshold(scores: Scores, right: NDArray[np.bool_], bound: float, spare: int = 0) -> float:
    """The lowest score from which at most `bound` of all pairs are served wrongly, `spare` more counted as wrong.

    With one the share is within the bound on average for other pairs of the kind (Angelopoulos et al. 2022).
    """
    order = np.argsort(-scores, kind="stable")
    within = np.flatnonzero(np.cumsum(~right[order]) + spare <= bound * (len(right) + spare))
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
