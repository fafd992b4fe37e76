"""A challenge: who estimates no better seldom takes over, who does soon leads, and who turns worse soon does not."""

import random

from services.cache.challenge import Challenge


def judge(challenge: Challenge, rng: random.Random, challenger: float, truth: float, rounds: int) -> bool:
    """Verdicts right with probability `truth`, of which the champion knows 0.5; whether the challenger ever led."""
    ever = False
    for _ in range(rounds):
        challenge.judged(challenger, 0.5, rng.random() < truth)
        ever = ever or challenge.leads
    return ever


def test_who_knows_no_more_seldom_takes_over() -> None:
    """Where the champion's estimate is the truth, at most 5 % of challengers ever lead, however often one looks."""
    led = sum(judge(Challenge(), random.Random(seed), 0.7, 0.5, 300) for seed in range(400))
    assert led <= 0.05 * 400


def test_who_knows_more_takes_over_and_loses_its_place_when_that_ends() -> None:
    """A better estimate leads within a few verdicts, and not for long once it is worse, however long it was better."""
    rng = random.Random(5)
    challenge = Challenge()
    assert judge(challenge, rng, 0.9, 0.9, 40)
    judge(challenge, rng, 0.9, 0.9, 2000)
    assert challenge.leads
    judge(challenge, rng, 0.9, 0.3, 40)
    assert not challenge.leads


def test_a_sure_mistake_costs_but_does_not_ruin() -> None:
    """An estimate of exactly 1 that is wrong leaves a stake that is finite."""
    challenge = Challenge()
    challenge.judged(1.0, 0.5, right=False)
    assert -10 < challenge.log_stake < -5
