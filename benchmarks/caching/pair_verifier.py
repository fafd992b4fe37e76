"""A verifier of pairs: an ensemble, each member trained without one fold, so that what is not its own calibrates it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from benchmarks.caching.pair_network import PairNetwork

_MOST_COMPARED = 4000  # texts of either side, when two sources are told apart
_NETWORKS = 2  # a member, whose scores are averaged

Vectors = NDArray[np.float32]
Scores = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Shown:
    """What a verifier is shown of pairs, a row each.

    Args:
        features: of PairFeatures, and how tokens are aligned.
        products: of `products`, and what tokens that one text has alone come to.
        changes: of pair_words.
    """

    features: Scores
    products: Vectors
    changes: csr_matrix

    def of(self, which: Flags) -> "Shown":
        """Some of the pairs."""
        return Shown(self.features[which], self.products[which], self.changes[which])


class PairVerifier:
    """For each fold boosted trees, networks and a linear model, each of which sees the pair in another way.

    Args:
        shown: what is known of the pairs.
        same: which pairs may share an answer, shape [pairs].
        folds: of each pair, from 0; no question is in two of them.
    """

    def __init__(self, shown: Shown, same: Flags, folds: NDArray[np.int64]) -> None:
        self._members = []
        self.unseen = np.empty(len(same))  # the score of each pair by the member that was trained without it
        for fold in range(int(folds.max()) + 1):
            others = folds != fold
            member = _Member(shown.of(others), same[others], fold)
            self.unseen[~others] = member.score(shown.of(~others))
            self._members.append(member)

    def score(self, shown: Shown) -> Scores:
        """Log-odds of other pairs, the members' mean, shape [pairs]."""
        return np.asarray(np.mean([member.score(shown) for member in self._members], 0))


class _Member:
    def __init__(self, shown: Shown, same: Flags, seed: int) -> None:
        self._mean, self._spread = shown.features.mean(0), shown.features.std(0) + 1e-6
        self._trees = HistGradientBoostingClassifier(
            max_iter=250,
            learning_rate=0.05,
            max_leaf_nodes=15,
            min_samples_leaf=40,
            l2_regularization=5,
            max_features=0.5,
            random_state=seed,
        ).fit(shown.features, same)
        self._words = LogisticRegression(C=0.1, max_iter=300).fit(self._sparse(shown), same)
        dense = _dense(shown)
        self._networks = [PairNetwork(dense, same, seed * _NETWORKS + number) for number in range(_NETWORKS)]

    def score(self, shown: Shown) -> Scores:
        networks = np.mean([network.score(_dense(shown)) for network in self._networks], 0)
        words = self._words.decision_function(self._sparse(shown))
        return np.asarray((self._trees.decision_function(shown.features) + networks + words) / 3)

    def _sparse(self, shown: Shown) -> csr_matrix:
        scaled = csr_matrix((shown.features - self._mean) / self._spread)
        return hstack([scaled, shown.changes]).tocsr()


def products(vectors: Vectors) -> Vectors:
    """What a network is shown of each two embeddings, `[2 x pairs, dimension]`: their product and distance by place."""
    one, other = vectors[0::2], vectors[1::2]
    return np.hstack([one * other, np.abs(one - other)])


def strangeness(one: Vectors, other: Vectors) -> float:
    """How well texts of two sources are told apart by their embeddings: 0.5 not at all, 1.0 always (AUC).

    A classifier is trained on half of them and tried on the rest (Lopez-Paz and Oquab 2017); no label is looked at.
    """
    rng = np.random.default_rng(0)
    some = [side[rng.permutation(len(side))[:_MOST_COMPARED]] for side in (one, other)]
    x, y = np.concatenate(some), np.repeat([0, 1], [len(side) for side in some])
    half = rng.permutation(len(x)) < len(x) // 2
    teller = LogisticRegression(class_weight="balanced", max_iter=1000).fit(x[half], y[half])
    return float(roc_auc_score(y[~half], teller.decision_function(x[~half])))


def _dense(shown: Shown) -> Vectors:
    return np.hstack([shown.features.astype(np.float32), shown.products])
