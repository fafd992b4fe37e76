"""A verifier of pairs: an ensemble, each member trained without one fold, so that what is not its own calibrates it."""

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from benchmarks.caching.pair_network import PairNetwork

_MOST_COMPARED = 4000  # texts of either side, when two sources are told apart

Vectors = NDArray[np.float32]
Scores = NDArray[np.float64]
Flags = NDArray[np.bool_]


class PairVerifier:
    """For each fold boosted trees on features of the pair, and a network that sees both embeddings beside them.

    Args:
        features: shape [pairs, features], of PairFeatures.
        products: shape [pairs, 2 x dimension], of `products`.
        same: which pairs may share an answer, shape [pairs].
        folds: of each pair, from 0; no question is in two of them.
    """

    def __init__(self, features: Scores, products: Vectors, same: Flags, folds: NDArray[np.int64]) -> None:
        self._members = []
        self.unseen = np.empty(len(same))  # the score of each pair by the member that was trained without it
        for fold in range(int(folds.max()) + 1):
            others, held = folds != fold, folds == fold
            member = _Member(features[others], products[others], same[others], fold)
            self.unseen[held] = member.score(features[held], products[held])
            self._members.append(member)

    def score(self, features: Scores, products: Vectors) -> Scores:
        """Log-odds of other pairs, the members' mean, shape [pairs]."""
        return np.asarray(np.mean([member.score(features, products) for member in self._members], 0))


class _Member:
    def __init__(self, features: Scores, products: Vectors, same: Flags, seed: int) -> None:
        self._trees = HistGradientBoostingClassifier(
            max_iter=250,
            learning_rate=0.05,
            max_leaf_nodes=15,
            min_samples_leaf=40,
            l2_regularization=5,
            max_features=0.5,
            random_state=seed,
        ).fit(features, same)
        self._network = PairNetwork(_beside(features, products), same, seed)

    def score(self, features: Scores, products: Vectors) -> Scores:
        trees = self._trees.decision_function(features)
        return np.asarray((trees + self._network.score(_beside(features, products))) / 2)


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


def _beside(features: Scores, wide: Vectors) -> Vectors:
    return np.hstack([features.astype(np.float32), wide])
