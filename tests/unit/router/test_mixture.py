"""One promise for all requests: kinds that may be answered by other models do not spend the bound once each."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from services.router.catalogue import Catalogue
from services.router.eligibility import Eligibility
from services.router.policy import Policy
from services.router.prices import ListPrice
from tests.unit.router.parts import MODELS, familiar, model, query, told


def drawn(prompts: int, rng: np.random.Generator) -> tuple[NDArray[np.bool_], Any, Any]:
    """Which need tools, losses and harms [n, 3]: of one predicted loss the small model harms on prompts without tools
    alone, the middle one on those with."""
    tools = rng.uniform(size=prompts) < 0.5
    loss = rng.beta(2, 8, prompts)
    harms = (rng.uniform(size=(2, prompts)) < 2 * loss) & [~tools, tools]
    beside = np.zeros(prompts)
    return tools, np.stack([loss, loss, beside], axis=1), np.stack([*harms, beside], axis=1)


@pytest.mark.parametrize("confidence", [None, 0.9])
def test_requests_with_tools_and_without_share_one_bound(confidence: float | None) -> None:
    """Where only some of the weaker models take tools, harm over both kinds of requests stays within the bound."""
    able: dict[str, Any] = {"context_tokens": 4000}
    middle = model("middle", 4, supports_tools=True, **able)
    strong = model("large", 10, is_default=True, supports_tools=True, **able)
    eligibility = Eligibility(Catalogue([model("small", 1, **able), middle, strong]), 100)
    shares = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        _, losses, harms = drawn(2000, rng)
        tools, live, harmed = drawn(1500, rng)
        choosing = Policy(eligibility, told(losses, harms, live))
        asked: dict[str, Any] = {"loss": 0.05, "confidence": confidence, "vector": familiar(), "input_tokens": 9}
        chosen = [
            MODELS.index(choosing.plan(query(str(row), needs_tools=bool(tools[row]), **asked)).models[0].model)
            for row in range(len(live))
        ]
        assert np.mean(np.array(chosen) < 2) > 0.2
        shares.append(float(harmed[np.arange(len(live)), chosen].mean()))
    assert np.mean(shares) <= 0.05 + np.std(shares) / np.sqrt(len(shares))
    assert confidence is None or np.mean(np.array(shares) > 0.05) <= 0.2


@pytest.mark.parametrize("confidence", [None, 0.9])
def test_sessions_and_fresh_requests_share_one_bound(confidence: float | None) -> None:
    """Where a prefix that it holds makes the middle model the cheapest, the harm of both kinds stays within the bound.

    The small one would harm fresh requests alone, the middle one those of its sessions.
    """
    able: dict[str, Any] = {"context_tokens": 4000}
    small, middle = model("small", 1, **able), model("middle", 2, price=ListPrice(2, 0.01, 2, 2), **able)
    eligibility = Eligibility(Catalogue([small, middle, model("large", 100, is_default=True, **able)]), 100)
    shares = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        _, losses, harms = sessions(2000, rng)
        held, live, harmed = sessions(1500, rng)
        choosing = Policy(eligibility, told(losses, harms, live))
        asked: dict[str, Any] = {"loss": 0.05, "confidence": confidence, "vector": familiar(), "input_tokens": 1000}
        session: dict[str, Any] = {"current_model": "middle", "cached_prefix_tokens": 1000}
        plans = [
            choosing.plan(query(str(row), max_output_tokens=10, **asked, **(session if held[row] else {})))
            for row in range(len(live))
        ]
        chosen = [MODELS.index(plan.models[0].model) for plan in plans]
        assert np.mean(np.array(chosen) < 2) > 0.2
        shares.append(float(harmed[np.arange(len(live)), chosen].mean()))
    assert np.mean(shares) <= 0.05 + np.std(shares) / np.sqrt(len(shares))
    assert confidence is None or np.mean(np.array(shares) > 0.05) <= 0.2


def sessions(prompts: int, rng: np.random.Generator) -> tuple[NDArray[np.bool_], Any, Any]:
    """Which are of sessions, where the small model is right and known to be; losses and harms [n, 3]."""
    held = rng.uniform(size=prompts) < 0.5
    loss = rng.beta(2, 8, prompts)
    harm, beside = rng.uniform(size=prompts) < loss, np.zeros(prompts)
    losses = np.stack([np.where(held, 0.01, loss), np.where(held, loss, 0.9), beside], axis=1)
    return held, losses, np.stack([harm & ~held, harm & held, beside], axis=1)
