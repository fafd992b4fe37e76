"""What the cache's decision is measured against: vCache's published rule, and the best fixed threshold in hindsight."""

import math
import random
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from benchmarks.caching.traffic import Shelf, Traffic

_EPSILONS = np.linspace(1e-6, 1 - 1e-6, 50)
_QUANTILES = norm.ppf(1 - _EPSILONS)
_LEAST_SEEN = 6
# Variance of the threshold where right and wrong separate, by number of observations from 6 on (vCache's own table).
_SEPARATED = (
    0.035445, 0.028285, 0.026436, 0.021349, 0.019371, 0.012615, 0.011433, 0.010228, 0.009963, 0.009253, 0.011674,
    0.013015, 0.010897, 0.011841, 0.013081, 0.010585, 0.014255, 0.012058, 0.013002, 0.011715, 0.00839, 0.008839,
    0.010628, 0.009899, 0.008033, 0.00457, 0.007335, 0.008932, 0.00729, 0.007445, 0.00761, 0.011423, 0.011233,
    0.006783, 0.005233, 0.00872, 0.010005, 0.01199, 0.00977, 0.01891, 0.01513, 0.02109, 0.01531,
)  # fmt: skip
_THRESHOLDS = tuple(round(0.70 + 0.01 * step, 2) for step in range(31))


@dataclass(frozen=True)
class Shares:
    """Of all requests: answered from the cache, and wrongly so."""

    hits: float
    wrong: float


@dataclass
class _Entry:
    """What vCache knows of one entry: similarity and verdict of each request it was nearest to."""

    seen: list[tuple[float, bool]] = field(default_factory=lambda: [(0.0, False), (1.0, True)])
    fitted: tuple[float, float, float] | None = None  # threshold, slope, variance of the threshold


def vcache(traffic: Traffic, seed: int, bound: float) -> Shares:
    """The rule of vCache (Schroeder et al. 2025), after its authors' implementation, with a perfect judge.

    For each entry a logistic curve over the similarities seen, and exploration with the smallest probability that
    keeps wrong answers below `bound` at some confidence in the curve's threshold.
    """
    chance, shelf, entries = random.Random(seed + 7), Shelf(traffic), dict[int, _Entry]()
    hits = wrong = requests = 0
    for place in traffic.order(seed):
        requests += 1
        near, similarities = shelf.nearest(place, 1)
        if near:
            entry, similarity, right = entries[near[0]], round(similarities[0], 3), traffic.same(near[0], place)
            if chance.random() > _exploration(entry, similarity, bound):
                hits += 1
                wrong += not right
                continue
            entry.seen.append((similarity, right))
            entry.fitted = None
            if right:
                continue
        shelf.add(place)
        entries[place] = _Entry()
    return Shares(hits / requests, wrong / requests)


def static(traffic: Traffic, seed: int, bound: float) -> Shares:
    """The threshold on the nearest entry's similarity that hits most within the bound, of 31 from 0.70 to 1.00."""
    low, high = 0, len(_THRESHOLDS) - 1  # wrong answers fall as the threshold rises
    best = _fixed(traffic, seed, _THRESHOLDS[high])
    while low < high:
        middle = (low + high) // 2
        shares = _fixed(traffic, seed, _THRESHOLDS[middle])
        if shares.wrong <= bound:
            high, best = middle, shares
        else:
            low = middle + 1
    return best


def _fixed(traffic: Traffic, seed: int, threshold: float) -> Shares:
    shelf = Shelf(traffic)
    hits = wrong = requests = 0
    for place in traffic.order(seed):
        requests += 1
        near, similarities = shelf.nearest(place, 1)
        if near and similarities[0] >= threshold:
            hits += 1
            wrong += not traffic.same(near[0], place)
        else:
            shelf.add(place)
    return Shares(hits / requests, wrong / requests)


def _exploration(entry: _Entry, similarity: float, bound: float) -> float:
    if len(entry.seen) < _LEAST_SEEN:
        return 1.0
    if entry.fitted is None:
        entry.fitted = _fit(np.array([s for s, _ in entry.seen]), np.array([float(r) for _, r in entry.seen]))
    threshold, slope, variance = entry.fitted
    thresholds = np.clip(threshold + _QUANTILES * math.sqrt(variance), 0.0, 1.0)
    likely = 1 / (1 + np.exp(-np.clip(slope * (similarity - thresholds), -500, 500)))
    return float((1 - bound / (1 - (1 - _EPSILONS) * likely)).min())


def _fit(similarities: NDArray[np.float64], right: NDArray[np.float64]) -> tuple[float, float, float]:
    """Maximum likelihood by Newton's method, all but unpenalised, as the original leaves it to its solver's limit."""
    rows = np.column_stack([np.ones_like(similarities), similarities])
    coefficients = np.zeros(2)
    for _ in range(30):
        p = 1 / (1 + np.exp(-np.clip(rows @ coefficients, -30, 30)))
        curvature = (rows * (p * (1 - p))[:, None]).T @ rows + 1e-6 * np.eye(2)
        step = np.linalg.solve(curvature, rows.T @ (p - right) + 1e-6 * coefficients)
        coefficients -= step * min(1.0, 100 / max(float(np.abs(step).max()), 1e-9))
        if np.abs(step).max() < 1e-6:
            break
    intercept, slope = coefficients[0], max(float(coefficients[1]), 1e-6)
    threshold = round(min(max(-intercept / slope, 0.0), 1.0), 3)
    if similarities[right == 1].min() > similarities[right == 0].max():
        return threshold, round(slope, 3), _SEPARATED[min(len(right) - _LEAST_SEEN, len(_SEPARATED) - 1)]
    p = 1 / (1 + np.exp(-np.clip(rows @ coefficients, -30, 30)))
    covariance = np.linalg.inv((rows * (p * (1 - p))[:, None]).T @ rows)
    gradient = np.array([-1 / slope, intercept / slope**2])
    return threshold, round(slope, 3), max(0.0, float(gradient @ covariance @ gradient))
