"""The benchmark's verifier of pairs: what it learns, whom it is measured on, and when it is among strangers."""

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.caching.pair_network import PairNetwork
from benchmarks.caching.pair_verifier import PairVerifier, Shown, products, strangeness
from benchmarks.caching.pair_words import changes
from benchmarks.caching.pairs import folds_of

PAIRS, DIMENSION = 800, 8


def vectors(count: int, rng: np.random.Generator, middle: float = 0.0) -> NDArray[np.float32]:
    found = rng.normal(middle, 1, (count, DIMENSION)).astype(np.float32)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))


def test_a_network_learns_what_no_single_feature_tells() -> None:
    """Of two features whose signs must agree, each alone says nothing; one seed gives one network."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4000, 4)).astype(np.float32)
    y = x[:, 0] * x[:, 1] > 0
    network = PairNetwork(x[:3000], y[:3000], 0)
    right = (network.score(x[3000:]) > 0) == y[3000:]
    assert right.mean() > 0.9
    assert network.score(x[:5]).tolist() == PairNetwork(x[:3000], y[:3000], 0).score(x[:5]).tolist()


def test_a_pair_is_calibrated_on_by_a_member_that_has_not_seen_it() -> None:
    """Labels that nothing explains are not foreseen for the pairs trained on."""
    rng = np.random.default_rng(2)
    same = rng.random(PAIRS) < 0.5
    folds = rng.integers(0, 2, PAIRS)
    words = [(f"w{rng.integers(9)} x", f"w{rng.integers(9)} x") for _ in range(PAIRS)]
    shown = Shown(rng.normal(size=(PAIRS, 3)), products(vectors(2 * PAIRS, rng)), changes(words))
    verifier = PairVerifier(shown, same, folds)
    assert ((verifier.unseen > 0) == same).mean() == pytest.approx(0.5, abs=0.06)
    assert ((verifier.score(shown) > 0) == same).mean() > 0.65


def test_strangers_are_told_by_their_texts_alone() -> None:
    """Two halves of one source cannot be told apart, two sources can."""
    rng = np.random.default_rng(3)
    home = vectors(2000, rng)
    assert strangeness(home, vectors(1000, rng)) == pytest.approx(0.5, abs=0.05)
    assert strangeness(home, vectors(1000, rng, middle=1.0)) > 0.9


def test_connected_questions_are_in_one_fold() -> None:
    """However long the chain of pairs between them, so that no question is trained and measured on."""
    chain = [(f"q{n}", f"q{n + 1}") for n in range(50)]
    alone = [(f"a{n}", f"b{n}") for n in range(50)]
    folds = folds_of(chain + alone)
    assert len(set(folds[:50].tolist())) == 1
    assert len(set(folds[50:].tolist())) > 1


def test_changes_are_the_same_whichever_text_comes_first() -> None:
    """Words shared, had by one alone and exchanged have columns; the order of the texts has none."""
    one, other = "How do I top up", "How can I top up"
    assert (changes([(one, other)]) != changes([(other, one)])).nnz == 0
    assert changes([("a b", "a c")]).nnz == len(["both a", "one b", "one c", "one a b", "one a c", "b for c"])
