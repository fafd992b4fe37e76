"""A prompt to place and what its caller wants: what the policy decides from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from services.router.predictor import Vector
from services.router.speed import Speed


class Goal(Enum):
    """What to optimise within all limits; the names of fulcrum.router.v1.Goal without its prefix."""

    CHEAPEST = "CHEAPEST"
    BEST = "BEST"
    FASTEST = "FASTEST"


@dataclass(frozen=True, slots=True)
class Objective:
    """Limits on the choice and what to optimise within them; None, or an empty set of names, sets no limit."""

    max_quality_loss: float
    confidence: float | None = None
    max_cost_nano_usd: int | None = None
    max_latency_s: float | None = None
    allowed_models: tuple[str, ...] = ()
    denied_models: tuple[str, ...] = ()
    goal: Goal = Goal.CHEAPEST
    whole_answer: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """One prompt; no `candidates` means every model, no `input_tokens` that they are estimated from the text.

    `earlier_turns` are those of the conversation that `text` is the last turn of; `current_model` answered the one
    before and holds `cached_prefix_tokens` of the prompt; `speeds` are measured, by model; `tenant` is who asks.
    """

    text: str
    objective: Objective
    vector: Vector | None = None
    candidates: tuple[str, ...] = ()
    input_tokens: int = 0
    input_bytes: int = 0
    max_output_tokens: int | None = None
    needs_tools: bool = False
    current_model: str = ""
    cached_prefix_tokens: int = 0
    earlier_turns: int = 0
    answers_tool_call: bool = False
    speeds: Mapping[str, Speed] = field(default_factory=dict)
    tenant: str = ""

    @property
    def names_models(self) -> bool:
        """Whether only some of the catalogue's may answer by their names."""
        return bool(self.candidates or self.objective.allowed_models or self.objective.denied_models)
