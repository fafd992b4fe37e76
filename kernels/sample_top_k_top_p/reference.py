"""Temperature, top-k and top-p sampling (Holtzman et al. 2020) by sorting, in float64."""

from typing import Any

import numpy as np


def kept_tokens(logits: Any, temperature: float, top_k: int, top_p: float) -> tuple[Any, Any]:
    """Which tokens `[vocabulary]` may be drawn, in order of ids, and their weights; ties go to the lower token."""
    if temperature <= 0:
        top_k, temperature = 1, 1.0
    order = np.argsort(-logits, kind="stable")[: top_k if top_k > 0 else len(logits)]
    weights = np.exp((logits[order].astype(np.float64) - logits.max()) / temperature)
    kept = order[: int(np.searchsorted(np.cumsum(weights), top_p * weights.sum())) + 1]
    chosen = np.sort(kept)
    return chosen, np.exp((logits[chosen].astype(np.float64) - logits.max()) / temperature)


def sample_top_k_top_p(logits: Any, temperature: float, top_k: int, top_p: float, uniform: float) -> int:
    """The first kept token, in order of ids, whose running share of what is kept passes `uniform`."""
    tokens, weights = kept_tokens(logits, temperature, top_k, top_p)
    index = np.searchsorted(np.cumsum(weights), uniform * weights.sum(), side="right")
    return int(tokens[min(int(index), len(tokens) - 1)])
