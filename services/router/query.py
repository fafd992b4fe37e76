"""A prompt to place and what its caller wants: what the policy decides from."""

from dataclasses import dataclass

from services.router.predictor import Vector


@dataclass(frozen=True, slots=True)
class Objective:
    """Limits on the choice; None, or an empty set of names, sets no limit."""

    max_quality_loss: float
    confidence: float | None = None
    max_cost_nano_usd: int | None = None
    max_latency_s: float | None = None
    allowed_models: tuple[str, ...] = ()
    denied_models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Query:
    """One prompt; no `candidates` means every model, no `input_tokens` that they are estimated from the text."""

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
