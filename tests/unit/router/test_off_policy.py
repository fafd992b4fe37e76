"""What explored decisions tell of models on all traffic, whomever the router chose, and how a calibration uses them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from services.router.logged_decisions import Decision, decisions
from services.router.off_policy import drawn_alike, estimated_harm
from services.router.predictor import Predictor
from services.router.recalibration import recalibrated
from tests.unit.router.parts import artefact
from tests.unit.router.test_recalibration import VERSION, line

SENT = 0.1  # predicted losses below it go to the small model


def log(count: int, share: float, explore: float, harm: float, seed: int) -> Iterator[dict[str, Any]]:
    """What edge tells of so many requests, where the small and middle models harm `harm` times what was predicted."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        losses = {"small": float(rng.uniform(0, 0.5)), "middle": float(rng.uniform(0, 0.5)), "large": 0.0}
        right = {model: float(rng.uniform() >= harm * loss) for model, loss in losses.items()}
        chosen = "small" if losses["small"] < SENT else "large"
        if rng.uniform() >= share:
            continue
        explored = bool(rng.uniform() < explore)
        known = {"sampled": share * (explore if explored else 1 - explore), "explored": explored}
        for model in losses if explored else {chosen, "large"}:
            yield line(f"{seed}-{number}", model, losses[model], right[model], **known)


def of(lines: Iterator[dict[str, Any]]) -> list[Decision]:
    return list(decisions(lines, VERSION))


def test_the_harm_of_a_model_that_was_not_chosen() -> None:
    """The estimate is of all requests; answers that were served are of easy ones alone, and would promise too much."""
    known = of(log(20_000, 0.5, 0.3, 1.0, seed=1))
    found = estimated_harm(known, "small", "large")
    assert found
    assert found.harm == pytest.approx(0.25, abs=3 * found.error)
    assert found.error < 0.01
    served = [one.harmed("small", "large") for one in known if not one.explored and "small" in one.scores]
    assert np.mean(served) < 0.25 - 10 * found.error
    middle = estimated_harm(known, "middle", "large")
    assert middle
    assert middle.harm == pytest.approx(0.25, abs=3 * middle.error)


def test_errors_are_as_large_as_they_are() -> None:
    """Of many logs, about one of twenty estimates is more than two standard errors off, also where prompts repeat."""
    beyond = 0
    for seed in range(100):
        once = of(log(400, 1.0, 0.5, 1.0, seed))
        popular = [one for place, one in enumerate(once) for _ in range(1 if place % 2 else 9)]
        found = estimated_harm(popular, "small", "large")
        assert found
        beyond += abs(found.harm - 0.25) > 2 * found.error
    assert 0 < beyond <= 12


def test_shares_may_change() -> None:
    """Half of the requests were explored ten times as often as the rest, which harm half as much: both count alike."""
    known = of(log(20_000, 1.0, 0.5, 1.6, seed=1)) + of(log(20_000, 0.5, 0.1, 0.8, seed=2))
    found = estimated_harm(known, "small", "large")
    assert found
    assert found.harm == pytest.approx(0.3, abs=3 * found.error)
    plain = [one.harmed("small", "large") for one in known if one.explored]
    assert abs(np.mean(plain) - 0.3) > 5 * found.error
    alike = drawn_alike(known)
    assert np.mean([one.harmed("small", "large") for one in alike]) == pytest.approx(0.3, abs=0.04)
    assert drawn_alike(known) == alike


def test_a_calibration_from_explored_decisions_may_send_more() -> None:
    """Weaker models that harm less than was feared get more prompts, as the bound allows; served answers never tell."""
    before, bound = artefact(prompts=2000), 0.05
    after = recalibrated(before, list(log(4000, 1.0, 0.5, 0.5, seed=3)))
    old, new = (Predictor(one).calibration.threshold(("small",), bound, None) for one in (before, after))
    assert new > 1.2 * old > SENT
    assert new**2 / 2 == pytest.approx(bound, rel=0.25)  # half of each loss, of losses up to the threshold, times two
    assert new**2 / 2 < bound * 1.15


def test_nothing_explored_tells_nothing() -> None:
    """Draws of served answers give no estimate, nor does a single prompt."""
    known = of(log(500, 1.0, 0.0, 1.0, seed=4))
    assert estimated_harm(known, "small", "large") is None
    assert drawn_alike(known) == known
    one = next(one for one in of(log(500, 1.0, 1.0, 1.0, seed=4)) if "small" in one.scores)
    assert estimated_harm([one, one], "small", "large") is None
