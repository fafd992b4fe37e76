"""What a decision is: models in the order to try them, what is expected of each, and why the first is first."""

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from services.router.risk import Check


class Reason(Enum):
    """Why a model was chosen; the names of fulcrum.router.v1.RouteReason without its prefix."""

    CHEAPEST_WITHIN_LOSS = "CHEAPEST_WITHIN_LOSS"
    NO_CHEAPER_FITS = "NO_CHEAPER_FITS"
    ONLY_CANDIDATE = "ONLY_CANDIDATE"
    NO_EMBEDDING = "NO_EMBEDDING"
    UNFAMILIAR_PROMPT = "UNFAMILIAR_PROMPT"
    NO_PREDICTOR = "NO_PREDICTOR"
    FASTEST_WITHIN_LOSS = "FASTEST_WITHIN_LOSS"
    BEST_WITHIN_LIMITS = "BEST_WITHIN_LIMITS"
    CACHED_PREFIX = "CACHED_PREFIX"
    NEEDS_CONVERSATION = "NEEDS_CONVERSATION"
    PROMISE_SUSPENDED = "PROMISE_SUSPENDED"
    CONTINUES_TOOL_CALL = "CONTINUES_TOOL_CALL"
    CHEAPER_FIRST = "CHEAPER_FIRST"


class Planned(NamedTuple):
    """One model of a plan; None where a figure is not known.

    `may_stand_in` is whether it may answer where those before it fail.
    """

    model: str
    quality: float | None
    loss: float | None
    cost_nano_usd: int | None
    seconds: float | None = None
    may_stand_in: bool = False


class Plan(NamedTuple):
    """Models in the order to try them, never none, the strongest of them, and why the first is first.

    `promised` is whether the first is a weaker one under the promise that no more than `bound`, a share of all such
    requests, are answered worse than by the default. `unfamiliar` is whether no promise covers the prompt, and `group`
    names it in the log of outcomes, where there is one. Where there is a `check` the first one's answer has to pass it
    before it is served, and nothing is promised of it until then. `contested` are the models that a laxer bound might
    have had answer, or a stricter one not; `excluded` those that the caller's wishes leave out.
    """

    models: tuple[Planned, ...]
    strongest: str
    reason: Reason
    explanation: str
    promised: bool
    bound: float
    version: str  # of the predictor; empty where there is none
    unfamiliar: bool = False
    group: str = ""
    check: Check | None = None
    contested: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()

    @property
    def contested_losses(self) -> Mapping[str, float]:
        """What is predicted of those contested."""
        return {one.model: one.loss for one in self.models if one.model in self.contested and one.loss is not None}
