"""How many harms among the calibrated prompts still prove, with a confidence, that harm stays within a bound."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

# Shares of the largest bet that cannot lose more than there is. Which of them wins most depends on what is not known,
# how often prompts of a group harm together, so the stake is spread over them.
_BETS = np.array([1.0, 0.7, 0.45, 0.3, 0.2, 0.1])


def most_harms_of_prompts(prompts: int, bound: float, error: float) -> int:
    """Most harms among prompts drawn one by one, by the exact binomial tail; -1 where even none proves nothing."""
    if bound >= 1:
        return prompts
    low, high = -1, prompts  # the tail at `low` is small enough, at `high` it is one
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if bdtr(middle, prompts, bound) <= error else (low, middle)
    return low


def most_harms_of_groups(groups: NDArray[np.intp], rows: NDArray[np.intp], bound: float, error: float) -> int:
    """Most harms where groups are drawn one by one, and prompts of one may harm together; -1 as above.

    A bet against "the mean harm of a group exceeds the bound": each group multiplies the stake by 1 + bet * (bound less
    the share of its prompts that are harmed), never below nothing. If that were so the stake would not be expected to
    grow, so one that grew beyond 1/error is a proof (Markov; Waudby-Smith and Ramdas 2024, arXiv:2010.09686). It holds
    whatever happens within a group, needs no order of groups, and counts each group alike, however large.

    Args:
        groups: number of each prompt's group, [n].
        rows: prompts by the order in which a growing threshold harms them, [n].
        bound: mean harm of a group.
        error: chance that the proof is wrong.
    """
    if bound >= 1:
        return len(rows)
    sizes = np.bincount(groups)
    bets = _BETS[:, None] / (1 - bound) * (1 - 1e-12)

    def proves(harms: int) -> bool:
        harmed = np.bincount(groups[rows[:harms]], minlength=len(sizes)) / sizes
        stakes = np.log1p(bets * (bound - harmed)).sum(axis=1)
        return bool(np.logaddexp.reduce(stakes) - np.log(len(bets)) >= -np.log(error))

    low, high = -1, len(rows)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if proves(middle) else (low, middle)
    return low
