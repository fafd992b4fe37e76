"""What an operator may set of the cache."""

from pathlib import Path

from pydantic import Field

from services.chassis.settings import Section


class CacheSettings(Section, section="cache"):
    """The cache's slice of the settings; a relative path starts at the working directory."""

    database: Path = Field(Path("var/cache.sqlite"), description="file of the entries, made where it is missing")
    max_entries: int = Field(100_000, ge=1, description="entries kept; beyond, the one used longest ago goes")
    max_bytes: int = Field(1024**3, ge=1, description="bytes of prompts, answers and vectors kept")
    ttl_s: float | None = Field(7 * 86_400, gt=0, description="how long an answer is served; for ever where null")
    min_similarity: float = Field(
        0.8, ge=0.8, le=1, description="cosine similarity from which a prompt that passes the vetoes is a hit"
    )
    max_wrong_share: float = Field(
        0.01, ge=0, le=1, description="share of requests that may be answered wrongly, where the request does not say"
    )
    encoder_digest: str | None = Field(
        None,
        pattern="^[0-9a-f]{64}$",
        description="encoder whose embeddings are taken, the first one's where unset; a change drops stored vectors",
    )
    answer_memory_bytes: int = Field(64 * 1024**2, ge=0, description="prompts and answers held in memory too")
    vector_memory_bytes: int = Field(256 * 1024**2, ge=0, description="vectors held in memory")
    remembered_lookups: int = Field(20_000, ge=1, description="lookups that Feedback still knows")
    max_waiting: int = Field(256, ge=1, description="calls waiting for disk or index; more are refused at once")
