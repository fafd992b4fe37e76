"""`make demo`: real prompts through a whole suite, and what each lever saved at what quality."""

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fulcrum.edge.v1 import edge_service_pb2 as edge_pb
from fulcrum.edge.v1 import receipt_pb2
from fulcrum.executor.v1 import chat_pb2
from fulcrum.router.v1 import objective_pb2
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.suite_process import suite_process
from benchmarks.traffic import Prompt, traffic
from services.cli.client import Client, client
from services.cli.tables import cost_table, result_name, usd

_CONCURRENT = 4
_EXECUTED = (receipt_pb2.CACHE_RESULT_MISS, receipt_pb2.CACHE_RESULT_BYPASSED)


@dataclass(frozen=True)
class Answered:
    """One prompt's answer: whether it was right, its receipt, and seconds as the client saw them."""

    prompt: Prompt
    right: bool
    receipt: receipt_pb2.Receipt
    seconds: float


async def _ask(suite: Client, prompt: Prompt, only: str = "") -> Answered:
    """Asks as any client would, or one model alone with no cache where `only` names it."""
    request = edge_pb.CompleteRequest(
        messages=[chat_pb2.Message(role=chat_pb2.ROLE_USER, content=prompt.question.prompt)],
        objective=objective_pb2.Objective(allowed_models=[only] if only else []),
        cache_control=edge_pb.CacheControl(no_cache=bool(only), no_store=bool(only)),
    )
    begin = time.perf_counter()
    completion = await suite.complete(request)
    seconds = time.perf_counter() - begin
    return Answered(prompt, completion.text == prompt.question.answer, completion.receipt, seconds)


async def _ask_all(
    suite: Client, prompts: Sequence[Prompt], progress: Progress, label: str, only: str = ""
) -> list[Answered]:
    task = progress.add_task(label, total=len(prompts))
    slots = asyncio.Semaphore(_CONCURRENT)

    async def one(prompt: Prompt) -> Answered:
        async with slots:
            answered = await _ask(suite, prompt, only)
        progress.advance(task)
        return answered

    return list(await asyncio.gather(*(one(prompt) for prompt in prompts)))


def _quantile(seconds: Sequence[float], share: float) -> str:
    ordered = sorted(seconds)
    return f"{ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000:.1f}"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else ""


def _where_table(answers: Sequence[Answered]) -> Table:
    table = Table(title="where requests went", title_justify="left")
    table.add_column("answered by")
    for heading in ("requests", "share", "right", "p50 ms", "p99 ms"):
        table.add_column(heading, justify="right")
    groups: dict[str, list[Answered]] = {}
    for answered in answers:
        result = answered.receipt.cache.result
        name = answered.receipt.model if result in _EXECUTED else f"cache: {result_name(result)}"
        groups.setdefault(name, []).append(answered)
    rows = [*sorted(groups.items(), key=lambda row: -len(row[1])), ("[bold]all[/]", list(answers))]
    for name, group in rows:
        seconds = [answered.seconds for answered in group]
        right = sum(answered.right for answered in group)
        counts = (str(len(group)), _share(len(group), len(answers)), _share(right, len(group)))
        table.add_row(name, *counts, _quantile(seconds, 0.5), _quantile(seconds, 0.99))
    return table


def _kinds_table(answers: Sequence[Answered]) -> Table:
    table = Table(title="what was sent, and what the cache made of it", title_justify="left")
    table.add_column("prompt")
    for heading in ("sent", "exact hit", "semantic hit", "shared", "executed"):
        table.add_column(heading, justify="right")
    reused = (
        receipt_pb2.CACHE_RESULT_EXACT_HIT,
        receipt_pb2.CACHE_RESULT_SEMANTIC_HIT,
        receipt_pb2.CACHE_RESULT_SHARED,
    )
    for kind, meaning in (
        ("new", "a new question"),
        ("repeat", "the same words again"),
        ("paraphrase", "the same in other words"),
    ):
        group = [answered for answered in answers if answered.prompt.kind == kind]
        counts = [sum(answered.receipt.cache.result == result for answered in group) for result in reused]
        table.add_row(meaning, *(str(n) for n in (len(group), *counts, len(group) - sum(counts))))
    return table


def _quality_table(runs: Sequence[tuple[str, Sequence[Answered], int]], strong: Mapping[str, bool]) -> Table:
    """Each way to answer the same prompts: right, worse than the strong model, and the cost in nano-dollars."""
    table = Table(title="exact-match quality and cost on the same prompts", title_justify="left")
    table.add_column("")
    for heading in ("right", "wrong where strong is right", "cost", "of always-strong"):
        table.add_column(heading, justify="right")
    whole = next(cost for name, _, cost in runs if name == "always strong")
    for name, answers, cost in runs:
        right = sum(answered.right for answered in answers)
        worse = sum(not answered.right and strong[answered.prompt.question.prompt] for answered in answers)
        row = (_share(right, len(answers)), _share(worse, len(answers)), usd(cost), _share(cost, whole))
        table.add_row(name, *row)
    return table


def _prefix_line(answers: Sequence[Answered]) -> str:
    """How many executed prompts began like one before, and how much of all their tokens that was."""
    usages = [one.receipt.usage for one in answers if one.receipt.cache.result in _EXECUTED]
    hits = sum(usage.cached_input_tokens > 0 for usage in usages)
    reused, read = sum(usage.cached_input_tokens for usage in usages), sum(usage.input_tokens for usage in usages)
    return (
        f"prefix hits: {hits} of {len(usages)} executed prompts, {_share(reused, read)} of their tokens not read again"
    )


def _spent(answers: Sequence[Answered]) -> int:
    return sum(answered.receipt.cost.actual_nano_usd for answered in answers)


@asynccontextmanager
async def _suite() -> AsyncGenerator[Client, None]:
    with tempfile.TemporaryDirectory() as folder:
        async with suite_process(Path(folder)) as running, client(running.address) as suite:
            yield suite


async def _cheap_and_strong(suite: Client) -> tuple[str, str]:
    """The catalogue's cheapest model that runs here, and its strong one."""
    runs_here = {engine.name for engine in await suite.engines()}
    catalogue = [model for model in await suite.catalogue() if model.name in runs_here]
    return catalogue[0].name, next(model.name for model in catalogue if model.is_default)


async def demo(console: Console, prompts: Sequence[Prompt]) -> None:
    """Runs a suite, sends the prompts, and prints what happened."""
    console.print(f"[bold]Fulcrum[/]: {len(prompts)} prompts through edge, cache, router and executor, in one process")
    with Progress(console=console) as progress:
        async with _suite() as suite:
            answers = await _ask_all(suite, prompts, progress, "through Fulcrum")
            usage = await suite.usage()
        async with _suite() as suite:  # another one, whose engine has not read these prompts yet
            cheap, strong = await _cheap_and_strong(suite)
            always_strong = await _ask_all(suite, prompts, progress, f"always strong: {strong}", strong)
            always_cheap = await _ask_all(suite, prompts, progress, f"always cheap: {cheap}", cheap)
    strong_is_right = {answered.prompt.question.prompt: answered.right for answered in always_strong}
    runs = (
        ("Fulcrum", answers, _spent(answers)),
        ("always strong", always_strong, _spent(always_strong)),
        ("always cheap", always_cheap, _spent(always_cheap)),
    )
    loss = answers[0].receipt.quality.max_quality_loss
    console.print(_kinds_table(answers), "", _where_table(answers), "", _quality_table(runs, strong_is_right))
    console.print(f"operator's bound: at most {loss:.1%} of requests worse than the strong model", style="dim")
    console.print(
        "the others send every prompt to the same engine, which remembers prefixes for them too\n", style="dim"
    )
    console.print(cost_table(usage.total))
    console.print(_prefix_line(answers))
    receipts = sum(answered.receipt.cost.baseline_nano_usd for answered in answers)
    exact = usage.total.actual_nano_usd == _spent(answers) and usage.total.baseline_nano_usd == receipts
    console.print(
        f"sum of {len(answers)} receipts = usage of the suite, to the nano-dollar: {'yes' if exact else 'NO'}"
    )


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo", description=__doc__)
    parser.add_argument("--new", type=int, default=160, help="distinct questions (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=120, help="repeats by the same words (default: %(default)s)")
    parser.add_argument("--paraphrases", type=int, default=120, help="repeats by unseen words (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the traffic (default: %(default)s)")
    chosen = parser.parse_args()
    prompts = traffic(chosen.seed, chosen.new, chosen.repeats, chosen.paraphrases)
    asyncio.run(demo(Console(), prompts))


if __name__ == "__main__":
    main()
