"""What every way of running a model looks like: one request in, a stream of events that ends in one `Finish` out."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, Protocol, TypeAlias

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True)
class ToolCall:
    """A function call that the model made; the arguments are JSON text."""

    call_id: str
    name: str
    arguments_json: str


@dataclass(frozen=True)
class Message:
    """One turn; `tool_calls` in an assistant's turn, `tool_call_id` in a tool's."""

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""


@dataclass(frozen=True)
class Tool:
    """A function that the model may call; the parameters are a JSON schema as text."""

    name: str
    description: str
    parameters_json_schema: str


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen. An unset temperature is greedy on local engines, the provider's default on remote ones.

    `json_schema` is what the answer must satisfy, as text; `top_logprobs` asks for probabilities, of so many likeliest
    tokens beside each chosen one.
    """

    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    json_schema: str | None = None
    top_logprobs: int | None = None


@dataclass(frozen=True)
class GenerateRequest:
    """One conversation to continue, for a tenant, which is empty where none is known."""

    model: str
    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()
    tools: tuple[Tool, ...] = ()
    tenant: str = ""


class FinishReason(Enum):
    """Why an answer ended."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"


@dataclass(frozen=True)
class Usage:
    """Tokens; cached and cache-written ones are part of the input."""

    input_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class Timing:
    """Seconds: waiting for a place, from arrival to the first text, from arrival to the end, of machine work."""

    queue_s: float
    first_token_s: float
    total_s: float
    machine_s: float


@dataclass(frozen=True)
class Spent:
    """What an unfinished answer has taken so far."""

    usage: Usage
    machine_s: float


@dataclass(frozen=True)
class AlternativeToken:
    """A token's bytes and its natural-log probability under the model."""

    token: bytes
    logprob: float


@dataclass(frozen=True)
class TokenLogprob:
    """A chosen token's bytes, its natural-log probability, and the likeliest tokens in its place."""

    token: bytes
    logprob: float
    alternatives: tuple[AlternativeToken, ...] = ()


@dataclass(frozen=True)
class TextDelta:
    """Text to append; never splits a character. `spent` is None where the engine does not count as it goes.

    `logprobs` tells of the tokens chosen since the last delta, where asked for; their text may come later.
    """

    text: str
    spent: Spent | None = field(default=None, compare=False)
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class ToolCallDelta:
    """A piece of call `index`; `call_id` and `name` come with its first piece."""

    index: int
    call_id: str
    name: str
    arguments_json: str


@dataclass(frozen=True)
class Finish:
    """The last event. `usage` is None where a provider does not say; `mean_logprob` is over the chosen tokens, natural
    log, None where the engine does not know."""

    reason: FinishReason
    usage: Usage | None
    timing: Timing
    mean_logprob: float | None


Event: TypeAlias = TextDelta | ToolCallDelta | Finish


class ModelKind(Enum):
    """Where a model runs."""

    LOCAL = "local"
    REMOTE = "remote"


class ModelState(Enum):
    """Whether a model can be used."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    UNLOADED = "unloaded"
    UNLOADING = "unloading"


@dataclass(frozen=True)
class MeasuredPrecision:
    """What a precision was measured to lose; None stands for what nobody measured.

    The share of `questions` that the model answered exactly and its perplexity a token are of its own weights; the
    error of logits, their differences from fp32's as a share of these' spread, is of a random Qwen2.5-0.5B shape.
    """

    precision: str
    exact_match: float | None = None
    perplexity: float | None = None
    questions: int | None = None
    random_logit_error: float | None = None


@dataclass(frozen=True)
class ModelInfo:
    """What is told of a model; precision and digest are empty for remote ones, 0 context tokens are unknown.

    `provider` is a name of OpenTelemetry's GenAI conventions where they have one; `waiting` counts requests; `kv_used`
    is the share of KV memory that answers under way hold, None where there is none; `memory_bytes` is what it takes, or
    would take once loaded; `measured` tells of the precisions that it could run in where it runs, if they were.
    """

    name: str
    kind: ModelKind
    state: ModelState
    context_tokens: int
    precision: str
    digest: str
    supports_tools: bool
    supports_json_schema: bool = False
    supports_logprobs: bool = False
    provider: str = "fulcrum"
    waiting: int = 0
    kv_used: float | None = None
    failure: str = ""
    memory_bytes: int = 0
    tokens_per_second: float = 0.0
    measured: Sequence[MeasuredPrecision] = ()


class Engine(Protocol):
    """Runs one model."""

    @property
    def info(self) -> ModelInfo:
        """The model as it is now."""

    async def start(self) -> None:
        """Makes the model ready; raises InvalidCheckpoint where a local one cannot be loaded."""

    def generate(self, request: GenerateRequest) -> AsyncGenerator[Event, None]:
        """Streams one answer. Cancelling the consumer, or closing the generator, ends the work within one step.

        Raises:
            InvalidField: the prompt leaves no room for an answer, or a field is not for this model.
            FailedPrecondition: the model cannot do what is asked, or a provider refuses the key.
            Overloaded: too many requests wait already, or a provider's rate limit is reached.
            Unavailable: the model is not ready, or a provider cannot be reached or breaks off.
        """

    async def close(self) -> None:
        """Ends everything that `start` began."""
