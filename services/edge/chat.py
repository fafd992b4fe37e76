"""A request and the pieces of its answer, as the pipeline sees them."""

from dataclasses import dataclass, field
from enum import Enum

_WORDS_TO_READ = 30  # of instructions that may be a text which a prompt is about


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function call made by the model; arguments are JSON text."""

    call_id: str
    name: str
    arguments_json: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn; `role` is system, user, assistant or tool."""

    role: str
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call; parameters are a JSON schema as text."""

    name: str
    description: str
    parameters_json_schema: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen; None means the model's default, any text, and no word of probabilities."""

    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    json_schema: str | None = None
    top_logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class Objective:
    """What the caller wants; None means the operator's setting. Seconds; `goal` by its enumeration's name."""

    max_quality_loss: float | None = None
    confidence: float | None = None
    max_cost_nano_usd: int | None = None
    max_latency_s: float | None = None
    allowed_models: tuple[str, ...] = ()
    denied_models: tuple[str, ...] = ()
    goal: str | None = None
    whole_answer: bool = False

    def allows(self, model: str) -> bool:
        """Whether this model may be given the request."""
        return model not in self.denied_models and (not self.allowed_models or model in self.allowed_models)


@dataclass(frozen=True, slots=True)
class CacheControl:
    """How the cache may take part; durations in seconds."""

    no_cache: bool = False
    no_store: bool = False
    max_age_s: float | None = None
    ttl_s: float | None = None
    only_if_cached: bool = False
    store_sampled: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """One conversation to continue, of one tenant, for one of its principals."""

    request_id: str
    tenant: str
    messages: tuple[Message, ...]
    objective: Objective = Objective()
    sampling: Sampling = Sampling()
    tools: tuple[Tool, ...] = ()
    cache_control: CacheControl = CacheControl()
    principal: str = ""

    @property
    def text(self) -> str:
        """The prompt: what the last turn says."""
        return self.messages[-1].content

    @property
    def earlier_turns(self) -> int:
        """Turns before the last one; instructions count where they are so long that they may be what it is about."""
        return sum(
            message.role != "system" or len(message.content.split()) >= _WORDS_TO_READ for message in self.messages[:-1]
        )

    @property
    def size_bytes(self) -> int:
        """UTF-8 bytes of all turns and tools, what a model will be given to read."""
        texts = [message.content for message in self.messages]
        texts += [call.arguments_json for message in self.messages for call in message.tool_calls]
        texts += [text for tool in self.tools for text in (tool.name, tool.description, tool.parameters_json_schema)]
        return sum(len(text.encode("utf-8", "replace")) for text in texts)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens; `cached_input` and `cache_write` are parts of `input`."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.input_tokens + other.input_tokens,
            self.cached_input_tokens + other.cached_input_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.output_tokens + other.output_tokens,
        )


@dataclass(frozen=True, slots=True)
class Spent:
    """What an unfinished answer has taken so far; `machine_s` is seconds."""

    usage: Usage
    machine_s: float


@dataclass(frozen=True, slots=True)
class AlternativeToken:
    """A token's bytes and its natural-log probability under the model."""

    token: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A chosen token's bytes, its natural-log probability, and the likeliest tokens in its place."""

    token: bytes
    logprob: float
    alternatives: tuple[AlternativeToken, ...] = ()


@dataclass(frozen=True, slots=True)
class TextDelta:
    """Text to append; `spent` is what the answer has taken so far, where the engine tells; `logprobs` where asked."""

    text: str
    spent: Spent | None = field(default=None, compare=False)
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a function call to append."""

    index: int
    call_id: str
    name: str
    arguments_json: str


class FinishReason(Enum):
    """Why an answer ended."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"


@dataclass(frozen=True, slots=True)
class Finish:
    """How a generation ended; `usage` is None where the provider did not say, `machine_s` 0 on remote models."""

    reason: FinishReason
    usage: Usage | None
    machine_s: float = 0.0


Delta = TextDelta | ToolCallDelta


@dataclass(frozen=True, slots=True)
class Degradation:
    """A part that failed and was done without; `status` is the canonical code's name."""

    part: str
    status: str
    consequence: str


@dataclass(frozen=True, slots=True)
class CacheNote:
    """How the cache took part; `result` is exact_hit, semantic_hit, shared, miss or bypassed.

    `not_kept` is why it refused the answer that was made: quota, personal_data or outlived.
    """

    result: str
    lookup_id: str = ""
    probability: float | None = None
    similarity: float | None = None
    explanation: str = ""
    not_kept: str = ""


@dataclass(frozen=True, slots=True)
class PlannedModel:
    """One model of a plan, what was predicted and what is expected of it; None where unknown.

    `may_stand_in` is whether it may answer where those before it fail.
    """

    model: str
    predicted_quality: float | None = None
    predicted_loss: float | None = None
    cost_nano_usd: int | None = None
    seconds: float | None = None
    may_stand_in: bool = False


@dataclass(frozen=True, slots=True)
class RouteNote:
    """How the router took part; `asks_first` is whether the first alternative's answer was to be assessed."""

    decision_id: str = ""
    explanation: str = ""
    predicted_quality: float | None = None
    predicted_loss: float | None = None
    alternatives: tuple[PlannedModel, ...] = ()
    asks_first: bool = False


@dataclass(frozen=True, slots=True)
class Discarded:
    """An answer that was begun and not served; `spent` is what it took, None where that is not known."""

    model: str
    spent: Spent | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything a receipt tells of one answer, but for prices; `model_s` is seconds spent on models.

    `attempts` is how often a model was asked, hedges and fallbacks included; `discarded` was paid for besides.
    """

    model: str
    finish: Finish
    cache: CacheNote
    route: RouteNote = RouteNote()
    model_s: float = 0.0
    degradations: tuple[Degradation, ...] = field(default=())
    attempts: int = 1
    discarded: tuple[Discarded, ...] = ()
