"""Sampling keeps its promises for any logits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from services.executor.engine import Sampling
from services.executor.sampling import Sampler, candidates, log_softmax

LOGITS = arrays(np.float32, st.integers(1, 40), elements=st.floats(-30, 30, width=32))
TEMPERATURES = st.floats(0.05, 2)


@given(LOGITS)
def test_greedy_takes_the_likeliest(logits: np.ndarray) -> None:
    """Unset temperature and temperature 0 take the first of the likeliest tokens and know its probability."""
    for sampling in (Sampling(), Sampling(temperature=0.0, top_k=3, top_p=0.5, seed=1)):
        token, logprob = Sampler(sampling).choose(logits)
        assert token == int(np.argmax(logits))
        assert logprob == pytest.approx(float(log_softmax(logits)[token]))
        assert logprob <= 0


@given(LOGITS, TEMPERATURES, st.integers(1, 50), st.integers(0, 2**64 - 1))
def test_top_k_draws_from_the_k_likeliest(logits: np.ndarray, temperature: float, top_k: int, seed: int) -> None:
    """No token outside the k likeliest is ever drawn."""
    token, _ = Sampler(Sampling(temperature=temperature, top_k=top_k, seed=seed)).choose(logits)
    assert (logits > logits[token]).sum() < top_k


@given(LOGITS, TEMPERATURES, st.floats(0.01, 1))
def test_top_p_keeps_the_smallest_sufficient_set(logits: np.ndarray, temperature: float, top_p: float) -> None:
    """The kept tokens reach top_p, and without the last of them they do not."""
    tokens, probabilities = candidates(logits, temperature, None, top_p)
    whole = np.exp(log_softmax(logits / np.float64(temperature)))[tokens]
    assert probabilities.sum() == pytest.approx(1)
    assert whole.sum() >= top_p - 1e-9
    assert whole[:-1].sum() < top_p


@given(LOGITS, TEMPERATURES, st.integers(0, 2**64 - 1))
def test_equal_seeds_draw_equal_tokens(logits: np.ndarray, temperature: float, seed: int) -> None:
    """Two samplers of one seed agree at every step."""
    one, other = (Sampler(Sampling(temperature=temperature, seed=seed)) for _ in range(2))
    assert [one.choose(logits) for _ in range(5)] == [other.choose(logits) for _ in range(5)]


def test_draws_follow_the_distribution() -> None:
    """Frequencies of 4,000 seeded draws are the tempered probabilities."""
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    sampler = Sampler(Sampling(temperature=0.5, seed=1))
    counts = np.bincount([sampler.choose(logits)[0] for _ in range(4000)], minlength=4)
    expected = np.array([0.5, 0.3, 0.15, 0.05]) ** 2
    np.testing.assert_allclose(counts / 4000, expected / expected.sum(), atol=0.03)


@pytest.mark.parametrize("temperature", [5e-324, 1e-310, 1e-20, 9e-7])
@given(logits=LOGITS)
def test_tiny_temperatures_are_greedy(temperature: float, logits: np.ndarray) -> None:
    """Where quotients would overflow, the likeliest token is taken."""
    with np.errstate(all="raise", under="ignore"):
        assert Sampler(Sampling(temperature=temperature, seed=1)).choose(logits)[0] == int(np.argmax(logits))


def test_the_least_temperature_draws_without_overflow() -> None:
    """Of the largest logits that there are."""
    logits = np.array([-3e38, 3e38, 2.9e38], np.float32)
    with np.errstate(all="raise", under="ignore"):
        assert Sampler(Sampling(temperature=1e-6, seed=1)).choose(logits)[0] == 1


def test_unseeded_samplers_differ() -> None:
    """Without a seed two samplers draw differently."""
    logits = np.zeros(1000, np.float32)
    draws = {
        tuple(sampler.choose(logits)[0] for _ in range(4))
        for sampler in (Sampler(Sampling(temperature=1.0)) for _ in range(2))
    }
    assert len(draws) == 2


def test_extreme_logits_stay_finite() -> None:
    """A logit far below the others gives no warning and is never drawn."""
    logits = np.array([0.0, -1e30, -np.inf], np.float32)
    with np.errstate(all="raise", under="ignore"):
        assert {Sampler(Sampling(temperature=2.0, seed=seed)).choose(logits)[0] for seed in range(50)} == {0}
