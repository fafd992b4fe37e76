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

    def serves(self, principal: str, now_ns: int, max_age_ns: int | None) -> bool:
        """Whether it may be served to this principal: it has not expired, is young enough and out of quarantine."""
        return (
            (self.expire_ns is None or now_ns < self.expire_ns)
            and (max_age_ns is None or now_ns - self.create_ns <= max_age_ns)
            and (self.standing is not Standing.QUARANTINED or principal == self.principal)
        )
