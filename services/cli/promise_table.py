"""Shows where promises stand: of the cache's right answers, by tenant, and of the router's."""

from collections.abc import Sequence

from fulcrum.cache.v1 import cache_service_pb2 as cache_pb
from fulcrum.router.v1 import router_service_pb2 as router_pb
from rich.table import Table

from services.cli.printing import plain

_MOST = 20
_SHIFTED = 0.25  # of the index: from there on `router_service.proto` says that prompts are others


def promises_table(promises: Sequence[cache_pb.Promise]) -> Table:
    """Shares of all requests of each tenant's that were answered wrongly; those with most requests first."""
    table = Table(title="wrong answers from the cache", title_justify="left")
    table.add_column("tenant")
    for heading in ("requests", "similar", "audits", "estimated", "at most", "allowed"):
        table.add_column(heading, justify="right")
    table.add_column("verifier")
    table.add_column("brake")
    for one in sorted(promises, key=lambda one: -one.requests)[:_MOST]:
        counts = (f"{number:,}" for number in (one.requests, one.served, one.audits))
        shares = (f"{share:.2%}" for share in (one.realised, one.certified, one.allowed))
        verifier = cache_pb.VerifierStanding.Name(one.verifier).removeprefix("VERIFIER_STANDING_").lower()
        brake = cache_pb.Brake.Name(one.brake).removeprefix("BRAKE_").lower()
        table.add_row(plain(one.tenant), *counts, *shares, verifier, brake)
    if len(promises) > _MOST:
        table.caption = f"{_MOST} of {len(promises)}; CacheService.Stats tells of all"
    return table


def route_promise_table(promise: router_pb.PromiseState) -> Table:
    """Whether the router's promise is kept, by answers of weaker models that were judged beside the strong model's."""
    table = Table(title="the router's promise", title_justify="left")
    table.add_column("state")
    for heading in ("judged answers", "worse", "shift of prompts"):
        table.add_column(heading, justify="right")
    state = "suspended: the strong model answers" if promise.suspended else "stands"
    if promise.shift > _SHIFTED and not promise.suspended:
        state = "stands, of other prompts: calibrate anew"
    counts = (f"{number:,}" for number in (promise.judged_answers, promise.harmed_answers))
    table.add_row(state, *counts, f"{promise.shift:.2f} (other prompts from {_SHIFTED})")
    return table
