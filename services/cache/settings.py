"""What an operator may set of the cache."""

from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from services.cache.personal_data import KINDS, Kind
from services.chassis.settings import Section

_TTL = Field(7 * 86_400, gt=0, description="how long an answer is served; for ever where null")
_INSERTS = Field(
    None, ge=0, description="entries that one principal of a tenant may cause in an hour; without limit where null"
)
_TRUST = Field(
    0,
    ge=0,
    description="confirmed entries that a principal needs before its new ones are served to others; until then they "
    "wait in quarantine for a right verdict, or for another principal's equal answer",
)


def _words(value: object) -> object:
    """A list as an environment variable holds it: words between commas."""
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


class TenantSettings(BaseModel):
    """What holds for the entries of one tenant."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    ttl_s: float | None = _TTL
    inserts_per_hour: int | None = _INSERTS
    confirmed_for_trust: int = _TRUST


class CacheSettings(Section, section="cache"):
    """The cache's slice of the settings; a relative path starts at the working directory."""

    database: Path = Field(Path("var/cache.sqlite"), description="file of the entries, made where it is missing")
    max_entries: int = Field(
        100_000, ge=1, description="entries kept; beyond, the one that saves the least money for its room goes"
    )
    max_bytes: int = Field(1024**3, ge=1, description="bytes of prompts, answers and vectors kept")
    ttl_s: float | None = _TTL
    inserts_per_hour: int | None = _INSERTS
    confirmed_for_trust: int = _TRUST
    tenants: dict[str, TenantSettings] = Field({}, description="by tenant: what differs for it")
    min_similarity: float = Field(
        0.8, ge=0.8, le=1, description="cosine similarity from which a prompt that passes the vetoes is a hit"
    )
    max_wrong_share: float = Field(
        0.01, ge=0, le=1, description="share of requests that may be answered wrongly, where the request does not say"
    )
    encoder_digest: str | None = Field(
        None,
        pattern="^[0-9a-f]{64}$",
        description="the one encoder whose embeddings are taken; every one's, each compared with its own, where unset",
    )
    personal_data: Annotated[tuple[Kind, ...], BeforeValidator(_words)] = Field(
        KINDS, description="prompts and answers that hold any of this are never kept; none where empty"
    )
    answer_memory_bytes: int = Field(64 * 1024**2, ge=0, description="prompts and answers held in memory too")
    vector_memory_bytes: int = Field(256 * 1024**2, ge=0, description="vectors held in memory")
    gpu_vector_bytes: int = Field(
        1024**3,
        ge=0,
        description="a GPU's memory for large scopes' vectors, where there is one, and Triton; 0 for none",
    )
    scope_memory_bytes: int = Field(
        256 * 1024**2,
        ge=0,
        description="what scopes have learnt held in memory; others are read when they are asked for",
    )
    remembered_lookups: int = Field(20_000, ge=1, description="lookups that Feedback still knows")
    lease_s: float = Field(3.0, gt=0, description="after which a lease lapses that its holder neither renews nor ends")
    max_waiting: int = Field(256, ge=1, description="calls waiting for disk or index; more are refused at once")

    def of(self, tenant: str) -> TenantSettings:
        """What holds for a tenant's entries."""
        own = self.tenants.get(tenant)
        return (
            self._everyones.model_copy(update=own.model_dump(include=own.model_fields_set)) if own else self._everyones
        )

    @cached_property
    def _everyones(self) -> TenantSettings:
        return TenantSettings(**{name: getattr(self, name) for name in TenantSettings.model_fields})
