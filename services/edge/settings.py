"""What the operator sets of edge: where its backends are, and how much quality may be lost."""

from pydantic import Field

from services.chassis.channel import BackendSettings
from services.chassis.settings import Section


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
    fallback_model: str | None = Field(
        None, description="model that answers while the router has never been reached; none where unset"
    )
    tenant_header: str | None = Field(
        None,
        pattern="^[a-z0-9-]+$",
        description="metadata key in which a trusted proxy names the tenant; unset means one tenant, 'local'",
    )
    max_requests: int = Field(256, ge=1, description="requests at once; more are refused at once")
    log_prompts: bool = Field(False, description="whether prompts are logged at info; nothing else ever logs them")
    catalogue_refresh_s: float = Field(60.0, gt=0, description="how often models and prices are read again")
