"""Who must give way where tenants share memory for prefixes: those that hold more than is theirs."""

from collections.abc import Collection, Mapping
from heapq import nlargest

from services.executor.prefix_tree import Block

_SHARED_OUT = 0.5  # of the capacity, equally; the other half goes to what is worth most, whosever it is
_PRESENCE = 16  # capacities of traffic, after which a tenant that asked for nothing has no share
_MOST_RIVALS = 8  # compared by worth, so that a choice takes no longer where there are many tenants


def giving_way(tenants: Collection[Block], asking: Block, now: float, capacity: int) -> Mapping[Block, float]:
    """Who may lose blocks to one below the root `asking`, and what each keeps: those most above their share, or itself.

    Args:
        tenants: roots, each with the time of its last request.
        asking: one of them, or a new one.
        now: in blocks that were asked for, as is the time of a root.
        capacity: of the tree, in blocks.
    """
    present = {tenant for tenant in tenants if now - tenant.last_use <= _PRESENCE * capacity} | {asking}
    share = _SHARED_OUT * capacity / len(present)
    keeps = {tenant: share if tenant in present else 0.0 for tenant in tenants}
    above = (tenant for tenant in tenants if tenant.size > keeps[tenant])
    rivals = nlargest(_MOST_RIVALS, above, key=lambda tenant: tenant.size - keeps[tenant])
    return {tenant: keeps[tenant] for tenant in rivals} or {asking: 0.0}
