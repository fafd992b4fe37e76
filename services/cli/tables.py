"""What the command line shows of answers, receipts, sums and caches."""

import math
from collections.abc import Sequence

from fulcrum.cache.v1 import cache_service_pb2 as cache_pb
from fulcrum.edge.v1 import edge_service_pb2 as edge_pb
from fulcrum.edge.v1 import receipt_pb2
from fulcrum.executor.v1 import chat_pb2
from fulcrum.router.v1 import router_service_pb2 as router_pb
from rich.table import Table

from services.cli.printing import plain

LEVER_NAMES = {
    receipt_pb2.LEVER_ROUTING: "routing",
    receipt_pb2.LEVER_ANSWER_REUSE: "answer reuse",
    receipt_pb2.LEVER_PREFIX_REUSE: "prefix reuse",
    receipt_pb2.LEVER_EXECUTION: "execution",
}


def usd(nano: int) -> str:
    """Billionths of a dollar as dollars."""
    return f"${nano / 1e9:.9f}"


def result_name(result: int) -> str:
    """A cache result as a person says it."""
    return receipt_pb2.CacheResult.Name(result).removeprefix("CACHE_RESULT_").lower().replace("_", " ")


def not_kept_name(reason: int) -> str:
    """Why an answer was not kept, as a person says it."""
    return cache_pb.NotKept.Name(reason).removeprefix("NOT_KEPT_").lower().replace("_", " ")


def receipt_table(receipt: receipt_pb2.Receipt) -> Table:
    """One answer's receipt."""
    table = Table(title="receipt", show_header=False, title_justify="left", min_width=60)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_row("model", plain(receipt.model))
    cache = result_name(receipt.cache.result)
    if receipt.cache.HasField("similarity"):
        cache += f" (similarity {receipt.cache.similarity:.3f}, right with {receipt.cache.probability:.1%})"
    elif receipt.cache.explanation:
        cache += f" ({plain(receipt.cache.explanation)})"
    if receipt.cache.not_kept:
        cache += f"; not kept: {not_kept_name(receipt.cache.not_kept)}"
    table.add_row("cache", cache)
    if receipt.route.explanation:
        table.add_row("route", plain(receipt.route.explanation))
    if len(receipt.route.alternatives) > 1:
        table.add_row("could answer", "\n".join(_alternative(one) for one in receipt.route.alternatives))
    usage = receipt.usage
    table.add_row("tokens", f"{usage.input_tokens} in ({usage.cached_input_tokens} cached), {usage.output_tokens} out")
    first, total = receipt.latency.first_token.ToNanoseconds(), receipt.latency.total.ToNanoseconds()
    table.add_row("time", f"{first / 1e6:.1f} ms to first text, {total / 1e6:.1f} ms in all")
    for degradation in receipt.degradations:
        part = receipt_pb2.Part.Name(degradation.part).removeprefix("PART_").lower()
        told = plain(f"{part} {degradation.status}: {degradation.consequence}")
        table.add_row("degraded", f"[yellow]{told}[/]")
    if not receipt.cost.priced:
        table.add_row("cost", "unpriced")
        return table
    table.add_row("baseline", f"{usd(receipt.cost.baseline_nano_usd)} ({plain(receipt.cost.baseline_model)})")
    for saving in receipt.cost.levers:
        table.add_row(LEVER_NAMES[saving.lever], f"x {saving.factor:.3f}, saved {usd(saving.saved_nano_usd)}")
    table.add_row("actual", f"[bold]{usd(receipt.cost.actual_nano_usd)}[/]")
    return table


def _alternative(planned: router_pb.PlannedModel) -> str:
    figures = [plain(planned.model)]
    if planned.HasField("predicted_quality"):
        figures.append(f"right with {planned.predicted_quality:.1%}")
    if planned.HasField("predicted_loss"):
        figures.append(f"worse than the strong model with {planned.predicted_loss:.1%}")
    figures.append(usd(planned.expected_cost_nano_usd) if planned.HasField("expected_cost_nano_usd") else "unpriced")
    if planned.HasField("expected_latency"):
        figures.append(f"{planned.expected_latency.ToNanoseconds() / 1e9:.3g} s")
    return ", ".join(figures)


def logprobs_table(told: Sequence[chat_pb2.TokenLogprob]) -> Table:
    """Each token of an answer with its probability, and what was likeliest in its place, where that was asked for."""
    table = Table(title="tokens", title_justify="left")
    table.add_column("token")
    table.add_column("probability", justify="right")
    if any(one.alternatives for one in told):
        table.add_column("likeliest")
    for one in told:
        others = [f"{_shown(other.token)} {math.exp(other.logprob):.1%}" for other in one.alternatives]
        table.add_row(_shown(one.token), f"{math.exp(one.logprob):.1%}", *[", ".join(others)][: len(table.columns) - 2])
    return table


def _shown(token: bytes) -> str:
    """As Python writes it: in quotes, spaces and ends of lines told apart, part of a character as bytes."""
    try:
        return plain(repr(token.decode()))
    except UnicodeDecodeError:
        return plain(repr(token))


def cost_table(totals: edge_pb.UsageTotals) -> Table:
    """From the baseline, lever by lever, to what was spent."""
    table = Table(title="cost, lever by lever", title_justify="left")
    table.add_column("after")
    for heading in ("cost", "factor", "saved", "of baseline"):
        table.add_column(heading, justify="right")
    left = totals.baseline_nano_usd
    table.add_row("baseline: strong model, nothing reused", usd(left), "", "", "100.0 %")
    for saving in totals.levers:
        left -= saving.saved_nano_usd
        share = left / totals.baseline_nano_usd if totals.baseline_nano_usd else 1.0
        table.add_row(
            LEVER_NAMES[saving.lever], usd(left), f"{saving.factor:.3f}", usd(saving.saved_nano_usd), f"{share:.1%}"
        )
    share = totals.actual_nano_usd / totals.baseline_nano_usd if totals.baseline_nano_usd else 1.0
    table.add_row("[bold]actual[/]", f"[bold]{usd(totals.actual_nano_usd)}[/]", "", "", f"[bold]{share:.1%}[/]")
    return table


def usage_table(usage: edge_pb.GetUsageResponse) -> Table:
    """Requests and tokens by model that wrote the answer."""
    table = Table(title=f"requests since {usage.start_time.ToJsonString()}", title_justify="left")
    table.add_column("model")
    for heading in (
        "requests",
        "exact hits",
        "semantic hits",
        "shared",
        "tokens in",
        "tokens out",
        "abandoned",
        "unpriced",
    ):
        table.add_column(heading, justify="right")
    rows = [(plain(model.model), model.totals) for model in usage.models] + [("[bold]all[/]", usage.total)]
    for name, totals in rows:
        counts = (totals.requests, totals.exact_hits, totals.semantic_hits, totals.shared)
        tokens = (totals.usage.input_tokens, totals.usage.output_tokens)
        others = (totals.abandoned, totals.unpriced_requests)
        table.add_row(name, *(str(number) for number in (*counts, *tokens, *others)))
    return table


def unanswered_table(usage: edge_pb.GetUsageResponse) -> Table:
    """What was paid for and answered nobody, by kind."""
    table = Table(title="answered nobody", title_justify="left")
    table.add_column("kind")
    for heading in ("executions", "cost"):
        table.add_column(heading, justify="right")
    for one in usage.unanswered:
        kind = edge_pb.UnansweredKind.Name(one.kind).removeprefix("UNANSWERED_KIND_").lower()
        table.add_row(kind, str(one.executions), usd(one.actual_nano_usd))
    return table


def groups_table(usage: edge_pb.GetUsageResponse, by: Sequence[str]) -> Table:
    """Sums split as asked."""
    table = Table(title=f"by {', '.join(by)}", title_justify="left")
    for name in by:
        table.add_column(name)
    for heading in ("requests", "reused", "abandoned", "unpriced", "baseline", "actual", "of baseline"):
        table.add_column(heading, justify="right")
    for group in usage.groups:
        day = group.day.ToDatetime().strftime("%Y-%m-%d") if group.HasField("day") else ""
        keys = {"tenant": group.tenant, "model": group.model, "day": day}
        sums = group.totals
        reused = sums.exact_hits + sums.semantic_hits + sums.shared
        counts = (str(number) for number in (sums.requests, reused, sums.abandoned, sums.unpriced_requests))
        share = f"{sums.actual_nano_usd / sums.baseline_nano_usd:.1%}" if sums.baseline_nano_usd else ""
        table.add_row(
            *(plain(keys[name]) for name in by), *counts, usd(sums.baseline_nano_usd), usd(sums.actual_nano_usd), share
        )
    if usage.next_page_token:
        table.caption = f"the first {len(usage.groups)} groups"
    return table


def cache_table(stats: cache_pb.StatsResponse) -> Table:
    """The cache's counts and sizes."""
    table = Table(title="cache", show_header=False, title_justify="left")
    table.add_column()
    table.add_column(overflow="fold")
    table.add_row("lookups", f"{stats.exact_hits} exact, {stats.semantic_hits} semantic, {stats.misses} missed")
    table.add_row("entries", f"{stats.entries} in {stats.bytes / 1e6:.2f} MB")
    table.add_row("encoder", stats.encoder_digest[:16] or "none yet")
    return table
