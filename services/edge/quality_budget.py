"""How the quality that may be lost is shared between the cache and the router."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QualityBudget:
    """Shares of requests; the two parts add up to the whole, because their errors add up at worst."""

    max_quality_loss: float
    cache_share: float
    router_share: float

    @classmethod
    def split(cls, max_quality_loss: float, cache_part: float, cache_in_use: bool) -> "QualityBudget":
        """Gives the cache its part, or all to the router where an answer is neither taken from the cache nor kept."""
        cache_share = max_quality_loss * cache_part if cache_in_use else 0.0
        return cls(max_quality_loss, cache_share, max_quality_loss - cache_share)
