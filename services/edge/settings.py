"""What the operator sets of edge: where its backends are, and how much quality may be lost."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.chassis.channel import BackendSettings
from services.chassis.settings import Section


class TenantLimits(BaseModel):
    """What one tenant may ask for; null means without limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    requests_per_second: float | None = Field(None, gt=0, description="rate, for each edge")
    burst: int | None = Field(None, ge=1, description="requests at once within the rate; a second's worth where unset")
    concurrent_requests: int | None = Field(None, ge=1, description="requests under way at once, for each edge")
    requests_per_day: int | None = Field(None, ge=0, description="requests answered a day, UTC")
    usd_per_day: float | None = Field(None, ge=0, description="spending a day, UTC; what is unpriced does not count")
    usd_per_month: float | None = Field(None, ge=0, description="spending a calendar month, UTC")

    @property
    def budgeted(self) -> bool:
        """Whether the ledger has to be asked."""
        return self.of_money or self.requests_per_day is not None

    @property
    def of_money(self) -> bool:
        """Whether spending is limited."""
        return not (self.usd_per_day is None and self.usd_per_month is None)


class LedgerSettings(BaseModel):
    """Where every receipt is kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    database: Path = Field(Path("var/ledger.sqlite"), description="file, which edges of one machine may share")
    power_safe: bool = Field(False, description="whether a receipt survives a power cut, at a disk's wait a commit")
    keep_days: int = Field(400, ge=1, description="how long single receipts are kept; their sums stay")


class JudgeSettings(BaseModel):
    """When two answers count as the same where their words do not tell; similarities are cosines of embeddings."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    same_from: float = Field(0.994, ge=0, le=1, description="similarity from which answers count as the same")
    different_to: float = Field(0.68, ge=-1, le=1, description="similarity to which they count as different")
    model: str | None = Field(None, description="model to ask where neither tells, at the tenant's cost; null: none")
    model_share: float = Field(
        0.1, gt=0, le=1, description="share of other comparisons than audits, left open, that ask it"
    )
    at_once: int = Field(
        64, ge=0, description="near misses compared at once, and as many audits; more are let be, and 0 compares none"
    )


class ShadowSettings(BaseModel):
    """How weaker models' answers are compared with the strong model's, once they were given, at their tenant's cost."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    share: float = Field(0.0, ge=0, le=1, description="share of answers that are compared; 0 is none")
    explore: float = Field(0.0, ge=0, le=1, description="share of these that ask every other model too; 0 is none")
    judge: str | None = Field(None, description="model that says which of two answers is better; needed for a share")
    at_once: int = Field(2, ge=1, description="comparisons under way, for each edge; more are let be")
    usd_per_day: float = Field(1.0, gt=0, description="what they may cost a tenant a day, UTC, judge included")
    max_output_tokens: int = Field(
        4096, ge=1, description="of the strong model's answer; fewer where a request says so"
    )


class EdgeSettings(Section, section="edge"):
    """Edge's slice of the settings."""

    encoder: BackendSettings = Field(BackendSettings(timeout_s=2.0), description="where EmbeddingService is")
    cache: BackendSettings = Field(BackendSettings(timeout_s=1.0), description="where CacheService is")
    router: BackendSettings = Field(BackendSettings(timeout_s=1.0), description="where RouterService is")
    executor: BackendSettings = Field(BackendSettings(timeout_s=600.0), description="where ExecutorService is")
    max_quality_loss: float = Field(
        0.02, ge=0, le=1, description="share of requests that may be answered worse than the strong model would"
    )
    cache_part: float = Field(0.5, ge=0, le=1, description="part of max_quality_loss that the cache may spend")
    judge: JudgeSettings = Field(JudgeSettings(), description="how answers are compared where the cache asks for that")
    shadow: ShadowSettings = Field(ShadowSettings(), description="whether weaker models' answers are checked")
    hot_temperature: float = Field(
        0.7, ge=0, description="sampled above it, an answer is not kept unless the request asks for that"
    )
    fallback_model: str | None = Field(
        None, description="model that answers while the router has never been reached; none where unset"
    )
    max_requests: int = Field(256, ge=1, description="requests at once; more are refused at once")
    limits: TenantLimits = Field(TenantLimits(), description="what every tenant may ask for")
    tenants: dict[str, TenantLimits] = Field({}, description="by tenant: what differs for it")
    remembered_turns: int = Field(10_000, ge=1, description="answered turns by which a conversation is known again")
    prefix_kept_s: float = Field(300.0, gt=0, description="how long a model is trusted to hold a prompt it has read")
    ledger: LedgerSettings = Field(LedgerSettings(), description="where every receipt is kept")
    log_prompts: bool = Field(False, description="whether prompts are logged at info; nothing else ever logs them")
    catalogue_refresh_s: float = Field(60.0, gt=0, description="how often models and prices are read again")

    @property
    def judges(self) -> Mapping[str, str]:
        """The models that compare answers, by the setting that names each."""
        named = {"edge.judge.model": self.judge.model, "edge.shadow.judge": self.shadow.judge}
        return {setting: model for setting, model in named.items() if model is not None}

    @model_validator(mode="after")
    def _consistent(self) -> "EdgeSettings":
        if self.shadow.share and self.shadow.judge is None:
            raise ValueError("shadow.judge: got None, expected a model's name where edge.shadow.share is not 0")
        if self.shadow.explore and not self.shadow.share:
            expected = "0 where edge.shadow.share is 0, of which it is a share"
            raise ValueError(f"shadow.explore: got {self.shadow.explore}, expected {expected}")
        return self
