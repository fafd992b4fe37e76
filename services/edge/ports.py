"""What the pipeline needs of the other services, whichever way they are reached."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from services.edge.chat import Delta, Finish, Objective, PlannedModel, Request
from services.edge.price import Price

EXECUTOR = "executor"  # the name of the backend in its errors


@dataclass(frozen=True, slots=True)
class Embedding:
    """A vector as it travels: little-endian float32 bytes that edge hands on unread."""

    values: bytes
    dimension: int
    encoder_digest: str
    token_count: int
    truncated: bool


@dataclass(frozen=True, slots=True)
class Hit:
    """An answer from the cache; `kind` is exact_hit or semantic_hit."""

    lookup_id: str
    kind: str
    text: str
    model: str
    input_tokens: int
    output_tokens: int
    probability: float
    similarity: float


@dataclass(frozen=True, slots=True)
class Lease:
    """What has other edges wait for the answer made here; it lapses unless it is renewed within `lasts_s`."""

    lease_id: str
    lasts_s: float


@dataclass(frozen=True, slots=True)
class Miss:
    """No answer, and why in one sentence; `candidate` is an answer that the cache wants compared with the one made.

    An `audit` would have been served but for the draw, whose verdict stands for the answers that were, or the brake.
    """

    lookup_id: str
    explanation: str
    candidate: str | None = None
    lease: Lease | None = None
    audit: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """Another edge, or another request here, executes a twin: look again after the delay."""

    lease_id: str
    retry_after_s: float


@dataclass(frozen=True, slots=True)
class CacheKey:
    """Where an answer belongs: tenant, digest of all but the prompt, and the prompt; `principal` is who asks."""

    tenant: str
    fingerprint: bytes
    text: str
    principal: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """A complete answer to keep, `caused_by` a request; costs in billionths of a dollar, None where unpriced."""

    text: str
    model: str
    input_tokens: int
    output_tokens: int
    cost_nano_usd: int | None
    caused_by: str = ""


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast a model was: seconds to the first token, tokens a second from then on."""

    first_token_s: float
    output_tokens_per_second: float


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What edge knows of a route beside the request: who answered the turn before and holds its prompt, and speeds."""

    current_model: str = ""
    cached_prefix_tokens: int = 0
    speeds: Mapping[str, Speed] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """Models in the order to try them.

    Where `expected_kept` is set the first one's answer has to be assessed before it is served; such a share of them is
    expected to be accepted. So many `repeats` tell how sure its model was; where there are none, probabilities do.
    """

    decision_id: str
    models: tuple[PlannedModel, ...]
    explanation: str
    expected_kept: float | None = None
    repeats: int = 0


@dataclass(frozen=True, slots=True)
class Signals:
    """What is known of a finished answer; None where unknown.

    The mean natural-log probability of its tokens, and the share of repeats that agree with it.
    """

    model: str
    complete: bool
    output_tokens: int
    mean_logprob: float | None
    agreement: float | None = None


@dataclass(frozen=True, slots=True)
class Assessment:
    """Whether an answer will do, and why in one sentence."""

    accepted: bool
    explanation: str


@dataclass(frozen=True, slots=True)
class Draw:
    """What had a request's answers scored, with which probability; `explored` is whether every model was to answer."""

    probability: float
    explored: bool


@dataclass(frozen=True, slots=True)
class CatalogueModel:
    """A model that may answer; `price` is None where unpriced, `speed` where the router's catalogue does not say.

    `expected_output_tokens` are of its answer where a request allows as many or more.
    """

    name: str
    is_default: bool
    price: Price | None
    context_tokens: int
    supports_tools: bool
    bytes_per_token: float
    expected_output_tokens: int
    speed: Speed | None = None


class Encoder(Protocol):
    """Text to vectors."""

    async def embed(self, text: str) -> Embedding:
        """The text's embedding."""


class Cache(Protocol):
    """Answers that were paid for."""

    async def lookup(
        self,
        key: CacheKey,
        embedding: Embedding | None,
        max_wrong_share: float,
        max_age_s: float | None,
        judges: bool = False,
        executes: bool = True,
    ) -> Hit | Miss:
        """An answer that may be served; exact matches only where no embedding is given.

        Who `judges` may be given an answer to compare instead; who `executes` nothing on a miss is no request then.
        """

    async def lookup_or_wait(
        self,
        key: CacheKey,
        embedding: Embedding | None,
        max_wrong_share: float,
        max_age_s: float | None,
        judges: bool,
        waited_for: str,
    ) -> Hit | Miss | Wait:
        """As `lookup` for who executes on a miss, with the lease on it; Wait where a twin is executed.

        `waited_for` is the lease that was waited for before, which is the only one then.
        """

    async def hold(self, tenant: str, lease_id: str, end: bool) -> bool:
        """Renews a lease, or ends it; tells whether it is held. A store under its lookup ends it too."""

    async def store(
        self,
        key: CacheKey,
        embedding: Embedding | None,
        answer: StoredAnswer,
        ttl_s: float | None,
        lookup_id: str,
    ) -> str:
        """Keeps an answer; durable when this returns. Says why it does not keep it, nothing where it does."""

    async def judge(self, tenant: str, lookup_id: str, same: bool, source: str) -> None:
        """Tells whether a miss's candidate says the same as the answer that was made."""

    async def report(self, tenant: str, principal: str, lookup_id: str, right: bool) -> None:
        """Tells a client's word on the answer that a lookup served, or that was stored since."""


class Router(Protocol):
    """Choice of model."""

    async def route(
        self, request: Request, embedding: Embedding | None, objective: Objective, known: Circumstances
    ) -> Plan:
        """The plan for this request."""

    async def assess(self, decision_id: str, signals: Signals) -> Assessment:
        """Whether the answer of a plan's first model will do."""

    async def feedback(self, decision_id: str, model: str, score: float, source: str, drawn: Draw) -> None:
        """Tells how good a model's answer to a decision was, and by which draw it was scored."""

    async def report(self, tenant: str, decision_id: str, model: str, right: bool) -> None:
        """Tells a client's word on a model's answer to a decision of its tenant."""

    async def catalogue(self) -> tuple[CatalogueModel, ...]:
        """Every model and its price."""


class Executor(Protocol):
    """Models."""

    @property
    def replicas(self) -> int:
        """How many executors can be told apart; 1 where something else balances over them."""

    def generate(self, model: str, request: Request) -> AsyncGenerator[Delta | Finish, None]:
        """Deltas, then one Finish."""
