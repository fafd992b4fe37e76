"""What memory holds of one entry."""

from dataclasses import dataclass

from services.cache.entry import Partition, Standing


@dataclass(slots=True)
class Record:
    """An entry without its texts; times in nanoseconds since 1970, `worth` as the eviction reckons it."""

    sequence: int
    key: bytes
    partition: Partition
    principal: str
    size: int
    create_ns: int
    expire_ns: int | None
    cost_nano_usd: int | None
    standing: Standing
    hits: int = 0
    last_used_ns: int = 0
    worth: float = 0.0
