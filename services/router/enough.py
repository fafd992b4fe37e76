"""Whether outcomes are enough to fit a router on, told before prompts are embedded, which may take minutes."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from services.router.harm import harms

LEAST_PROMPTS = 100
LEAST_GROUPS = 20  # below that nothing would be left to calibrate on, or to find thresholds with


def expect_enough(groups: Sequence[str], scores: Mapping[str, NDArray[np.float64]], default_model: str) -> None:
    """Sees to it that something can be fitted from prompts of these groups, [n], and scores; before they are embedded.

    Raises:
        ValueError: too few prompts or groups, a default that was not scored or not with every model, or never better.
    """
    if len(groups) < LEAST_PROMPTS:
        raise ValueError(f"outcomes: got {len(groups)} prompts, expected at least {LEAST_PROMPTS}")
    if (different := len(set(groups))) < LEAST_GROUPS:
        raise ValueError(
            f"group: got {different} different ones, expected at least {LEAST_GROUPS}: prompts of one never part"
        )
    if default_model not in scores:
        raise ValueError(f"default_model: got {default_model!r}, expected one of {', '.join(scores)}")
    for model, known in scores.items():
        both = int(np.isfinite(known + scores[default_model]).sum())
        if model != default_model and both < LEAST_PROMPTS:
            raise ValueError(
                f"scores of {model}: {both} prompts have {default_model}'s too, expected at least {LEAST_PROMPTS}"
            )
    if not any(harms(known, scores[default_model]).any() for known in scores.values()):
        raise ValueError(f"scores: no model is ever worse than {default_model}, so there is nothing to learn")
