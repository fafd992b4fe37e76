"""A challenge: who knows nothing seldom takes over, who does soon leads, and who turns worse soon does not."""

import random

import pytest

from services.cache.challenge import Challenge


def judge(challenge: Challenge, rng: random.Random, estimates: tuple[float, float], truth: tuple[float, float]) -> None:
    """A verdict of one of two kinds."""
    kind = rng.randrange(2)
    challenge.judged(estimates[kind], rng.random() < truth[kind])


@pytest.mark.parametrize("truth", [0.5, 0.95, 0.99, 1.0])
def test_a_constant_never_takes_over(truth: float) -> None:
    """Knowing the share of right ones from the beginning is no knowledge of which they are."""
    for seed in range(50):
        challenge, rng = Challenge(), random.Random(seed)
        for _ in range(150):
            judge(challenge, rng, (truth, truth), (truth, truth))
            assert not challenge.leads


def test_who_tells_kinds_apart_that_are_alike_seldom_takes_over() -> None:
    """Where verdicts are all as likely, at most 5 % of challengers ever lead, however often one looks."""
    led = 0
    for seed in range(400):
        challenge, rng = Challenge(), random.Random(seed)
        for _ in range(150):
            judge(challenge, rng, (0.8, 0.6), (0.7, 0.7))
            if challenge.leads:
                led += 1
                break
    assert led <= 0.05 * 400


def test_who_knows_more_takes_over_and_loses_its_place_when_that_ends() -> None:
    """Telling kinds apart leads within a few verdicts, and not for long once that ends, however long it lasted."""
    rng, challenge = random.Random(5), Challenge()
    for _ in range(40):
        judge(challenge, rng, (0.9, 0.1), (0.9, 0.1))
    assert challenge.leads
    for _ in range(2000):
        judge(challenge, rng, (0.9, 0.1), (0.9, 0.1))
    assert challenge.leads
    for _ in range(40):
        judge(challenge, rng, (0.9, 0.1), (0.1, 0.9))
    assert not challenge.leads


def test_a_sure_mistake_costs_but_does_not_ruin() -> None:
    """An estimate of exactly 1 that is wrong leaves a stake that is finite."""
    challenge = Challenge()
    challenge.judged(1.0, right=False)
    assert -10 < challenge.log_stake < -5
