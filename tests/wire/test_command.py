"""The `fulcrum` command against a suite in a process of its own."""

import asyncio
import base64
import contextlib
import datetime
import json
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from benchmarks.suite_process import SuiteProcess, suite_process


@dataclass(frozen=True)
class Ended:
    """A command that ended: its status and what it printed."""

    status: int
    out: str
    err: str


async def fulcrum(*arguments: str, **environment: str) -> Ended:
    return await piped(b"", *arguments, **environment)


async def piped(stdin: bytes, /, *arguments: str, **environment: str) -> Ended:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.cli",
        *arguments,
        env={**os.environ, "COLUMNS": "160", **environment},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(stdin)
    return Ended(process.returncode or 0, out.decode(), err.decode())


@pytest_asyncio.fixture(scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SuiteProcess]:
    """`fulcrum up` on a free port."""
    async with suite_process(tmp_path_factory.mktemp("up")) as suite:
        yield suite


async def test_complete_streams_and_prints_a_receipt(running: SuiteProcess) -> None:
    """The answer comes first, then the receipt with its levers; asked again it is an exact hit."""
    first = await fulcrum("complete", "What is the capital of France?", "--address", running.address)
    assert (first.status, first.err) == (0, "")
    answer, receipt = first.out.split("\n", 1)
    assert answer
    assert "baseline" in receipt
    assert "routing" in receipt
    again = await fulcrum("complete", "What is the capital of France?", "--address", running.address)
    assert again.out.startswith(answer)
    assert "exact hit" in again.out


async def test_an_objective_on_the_command_line(running: SuiteProcess) -> None:
    """Goal and limits reach the router; the receipt says who could have answered; what no model can do is explained."""
    asked = ("complete", "Reverse the word stone.", "--address", running.address, "--goal", "best", "--whole-answer")
    limits = ("--max-quality-loss", "1", "--confidence", "0.9", "--max-cost", "1", "--max-latency", "60")
    best = await fulcrum(*asked, *limits)
    assert (best.status, best.err) == (0, "")
    shown = " ".join(best.out.replace("│", " ").split())
    assert "could answer fulcrum-large, right with" in shown
    assert "fulcrum-small, right with" in shown
    denied = await fulcrum(*asked, "--deny", "fulcrum-large")
    assert "fulcrum-small" in denied.out
    poor = await fulcrum(*asked, "--max-cost", "0.000000001")
    assert poor.status == 1
    assert "objective.max_cost_nano_usd: got '1', expected at least" in poor.err


async def test_the_form_of_an_answer_on_the_command_line(running: SuiteProcess, tmp_path: Path) -> None:
    """A schema in a file, texts to stop at and probabilities reach the model; what it refuses is told by field."""
    asked = ("complete", "Reverse the word stone.", "--address", running.address, "--no-cache")
    schema = tmp_path / "schema.json"
    schema.write_text(
        json.dumps(
            {"type": "object", "properties": {"a": {"enum": ["b"]}}, "required": ["a"], "additionalProperties": False}
        )
    )
    held = await fulcrum(*asked, "--json-schema", str(schema))
    assert (held.status, held.err) == (0, "")
    assert json.loads(held.out.split("\n", 1)[0]) == {"a": "b"}
    whole = (await fulcrum(*asked, "--no-store")).out.split("\n", 1)[0]
    cut = await fulcrum(*asked, "--stop", "never said", "--stop", whole[2])
    assert cut.out.split("\n", 1)[0] == whole[: whole.index(whole[2])]
    shown = (await fulcrum(*asked, "--logprobs", "2")).out
    assert shown.index("tokens") < shown.index("receipt")
    rows = [line.replace("│", " ").split() for line in shown.splitlines()]
    assert [row for row in rows if row[:1] == [repr(whole[0])] and row[1].endswith("%") and len(row) == 6]
    told, receipt = (await fulcrum(*asked, "--logprobs", "0", "--json")).out.split("\n", 1)[1].split("\n}\n", 1)
    tokens = [base64.b64decode(one["token"]) for one in json.loads(told + "}")["logprobs"]]
    assert b"".join(tokens).decode() == whole
    assert json.loads(receipt)["model"]
    schema.write_text(json.dumps({"type": "nothing"}))
    refused = await fulcrum(*asked, "--json-schema", str(schema))
    assert refused.status == 1
    assert "sampling.response_format.json_schema: " in refused.err


async def test_feedback(running: SuiteProcess, tmp_path: Path) -> None:
    """By what complete printed, answer and probabilities and all, from a file or standard input; to whom it was sent
    is shown, and what was told wrong is given no more."""
    asked = ("complete", "What is the capital of Portugal?", "--address", running.address)
    printed = tmp_path / "answer.txt"
    printed.write_text((await fulcrum(*asked, "--json", "--logprobs", "0")).out)
    bypassed = await fulcrum("feedback", "right", str(printed), "--address", running.address)
    assert (bypassed.status, bypassed.out, bypassed.err) == (0, "sent to the router: right\n", "")
    printed.write_text((await fulcrum(*asked, "--json")).out)
    right = await fulcrum("feedback", "right", str(printed), "--address", running.address)
    assert (right.status, right.out, right.err) == (0, "sent to the cache and the router: right\n", "")
    hit = await fulcrum(*asked, "--only-if-cached", "--json")
    wrong = await piped(hit.out.encode(), "feedback", "wrong", "-", "--address", running.address)
    assert (wrong.status, wrong.out, wrong.err) == (0, "sent to the cache: wrong\n", "")
    assert (await fulcrum(*asked, "--only-if-cached")).status == 1
    forgotten = hit.out.replace('"lookup_id": "', '"lookup_id": "x')
    unknown = await piped(forgotten.encode(), "feedback", "wrong", "-", "--address", running.address)
    assert unknown.status == 1
    assert "NotFound: lookup_id: got 'x" in unknown.err


async def test_stats_and_models(running: SuiteProcess) -> None:
    """Sums, cache sizes and the catalogue are shown."""
    stats = await fulcrum("stats", "--address", running.address)
    assert stats.status == 0, stats.err
    assert "cost, lever by lever" in stats.out
    assert "the router's promise" in stats.out
    assert "other prompts from 0.25" in stats.out
    models = await fulcrum("models", "--address", running.address)
    assert models.status == 0, models.err
    assert "fulcrum-large (strong)" in models.out
    assert "ready" in models.out
    rows = [" ".join(line.split()) for line in models.out.replace("│", " ").splitlines()]
    assert "fulcrum-large int8 (runs) 90.4% 1.0543 1,000 5.0%" in rows
    assert "fulcrum-small int4 62.2% 1.2853 1,000 54.1%" in rows


async def test_models_are_unloaded_and_loaded(running: SuiteProcess) -> None:
    """Each tells the model's new state; without a name, or with one that no model has, why nothing was done."""
    address = ("--address", running.address)
    unloaded = await fulcrum("models", "unload", "fulcrum-small", *address)
    loaded = await fulcrum("models", "load", "fulcrum-small", *address)
    assert (unloaded.status, loaded.status) == (0, 0), unloaded.err + loaded.err
    assert "unloaded" in unloaded.out
    assert "ready" in loaded.out
    assert "MB" in loaded.out
    nameless, unknown = await fulcrum("models", "load", *address), await fulcrum("models", "load", "gtp", *address)
    assert (nameless.status, unknown.status) == (2, 1)
    assert "models load: got no name" in nameless.err
    assert "model: got 'gtp', expected one of" in unknown.err


async def test_stats_split_and_as_json(running: SuiteProcess) -> None:
    """Sums are split as asked, in a table or as JSON whose groups add up to the total."""
    address = ("--address", running.address)
    await fulcrum("complete", "What is the capital of France?", *address)
    table = await fulcrum("stats", "--by", "day,model", "--days", "1", *address)
    assert table.status == 0, table.err
    assert "by day, model" in table.out
    assert f"{datetime.datetime.now(datetime.UTC):%Y-%m-}" in table.out
    found = json.loads((await fulcrum("stats", "--by", "tenant,model", "--json", *address)).out)
    assert {group["tenant"] for group in found["groups"]} == {"local"}
    requests = [int(group["totals"]["requests"]) for group in found["groups"]]
    assert sum(requests) == int(found["total"]["requests"]) > 0
    wrong = await fulcrum("stats", "--by", "month", *address)
    assert wrong.status == 2
    assert "got 'month', expected tenant, model and day" in wrong.err


async def drain(terminal: int) -> None:
    """Reads until the other side has gone."""
    with contextlib.suppress(OSError):
        while await asyncio.to_thread(os.read, terminal, 65_536):
            pass


async def test_stats_are_kept_up_to_date(running: SuiteProcess) -> None:
    """`--watch` draws again and again in a terminal until it is interrupted, with what has come since."""
    primary, secondary = pty.openpty()
    command = (sys.executable, "-m", "services.cli", "stats", "--watch", "0.1", "--address", running.address)
    environment = {**os.environ, "COLUMNS": "160", "LINES": "60", "TERM": "xterm"}
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # tests in the background inherit that it is not
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=secondary, stderr=secondary, preexec_fn=heard
    )
    os.close(secondary)
    shown = b""
    try:
        async with asyncio.timeout(20):
            while shown.count(b"cost, lever by lever") < 2:
                shown += await asyncio.to_thread(os.read, primary, 65_536)
        process.send_signal(signal.SIGINT)
        draining = asyncio.create_task(drain(primary))  # a terminal that nobody reads would hold it up
        assert await asyncio.wait_for(process.wait(), 10) == 130
        await draining
    finally:
        os.close(primary)
        if process.returncode is None:
            process.kill()


async def test_a_refused_request_says_why(running: SuiteProcess) -> None:
    """The error names the field, the value and what was expected; the status is 1."""
    refused = await fulcrum("complete", "x", "--model", "gtp-4", "--address", running.address)
    assert refused.status == 1
    assert "objective.allowed_models: got 'gtp-4', expected one of fulcrum-" in refused.err


async def test_nobody_there() -> None:
    """Without a running suite the command says how to start one."""
    ended = await fulcrum("complete", "x", "--address", "127.0.0.1:1")
    assert ended.status == 1
    assert "fulcrum up" in ended.err


async def test_config_check(tmp_path: Path) -> None:
    """A good file is shown with its meaning; a bad one ends with 2 and names key, value and expectation."""
    good = await fulcrum("config", "check")
    assert good.status == 0, good.err
    assert "max_quality_loss: 0.02" in good.out
    for content, message in (
        ("edge:\n  max_quality_loss: much\n", "edge.max_quality_loss (or FULCRUM_EDGE__MAX_QUALITY_LOSS): got 'much'"),
        (
            "edge:\n  max_qualty_loss: 0.1\n",
            "edge.max_qualty_loss (or FULCRUM_EDGE__MAX_QUALTY_LOSS): unknown key, expected one of",
        ),
        ("egde: {}\n", "egde: unknown section, expected one of server, edge, cache, router, executor"),
        ("edge: [", "is not YAML"),
    ):
        file = tmp_path / "bad.yaml"
        file.write_text(content)
        bad = await fulcrum("config", "check", "--config", str(file))
        assert bad.status == 2
        assert message in bad.err
    missing = await fulcrum("up", "--config", str(tmp_path / "none.yaml"))
    assert missing.status == 2
    assert "cannot be read" in missing.err
    overridden = await fulcrum("config", "check", FULCRUM_SERVER__PORT="http")
    assert "server.port (or FULCRUM_SERVER__PORT): got 'http'" in overridden.err
    misspelt = await fulcrum("config", "check", FULCRUM_EGDE__MAX_QUALITY_LOSS="0.1")
    assert misspelt.status == 2
    assert "FULCRUM_EGDE__MAX_QUALITY_LOSS: unknown section" in misspelt.err


async def test_a_missing_file_fails_the_check(tmp_path: Path) -> None:
    """`config check` ends with 2 where a file that settings name is missing, unless only another service is meant."""
    environment = {"FULCRUM_ROUTER__CATALOGUE": str(tmp_path / "none.yaml")}
    missing = await fulcrum("config", "check", **environment)
    assert (missing.status, missing.out) == (2, "")
    assert f"router.catalogue: {tmp_path}/none.yaml: cannot be read" in missing.err
    executor = await fulcrum("config", "check", "executor", **environment)
    assert executor.status == 0, executor.err


async def test_up_names_models_that_failed(tmp_path: Path) -> None:
    """A model that cannot be loaded is named by `fulcrum up`, and by the server to callers, in its own words."""
    models = {"fulcrum-large": {"folder": str(tmp_path)}, "fulcrum-small": {"folder": "models/fulcrum-small"}}
    file = tmp_path / "settings.yaml"
    file.write_text(json.dumps({"executor": {"models": models}}))
    async with suite_process(tmp_path, "up", "--config", str(file)) as suite:
        ask = ("complete", "What is the capital of Peru?", "--address", suite.address, "--model")
        failed, answered = await fulcrum(*ask, "fulcrum-large"), await fulcrum(*ask, "fulcrum-small")
    told = (tmp_path / "suite.log").read_text()
    assert "could not be loaded: fulcrum-large; `fulcrum models` says why" in told
    assert failed.status == 1
    assert "model fulcrum-large: got 'failed', expected ready" in failed.err
    assert answered.status == 0, answered.err


async def test_a_pipe_that_closes(running: SuiteProcess) -> None:
    """A reader that leaves, such as `head`, ends the command without a word."""
    command = f"{sys.executable} -m services.cli stats --watch 0.1 --address {running.address} | head -1"
    process = await asyncio.create_subprocess_shell(
        command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 20)
    assert (out.startswith(b"requests since"), err) == (True, b"")


async def test_a_taken_port_is_explained(running: SuiteProcess) -> None:
    """A second server on the same port ends with 2 and names the settings to change."""
    port = running.address.rpartition(":")[2]
    ended = await fulcrum("serve", "router", FULCRUM_SERVER__PORT=port)
    assert ended.status == 2
    assert "server.host and server.port" in ended.err


async def test_sigterm_ends_it(tmp_path: Path) -> None:
    """SIGTERM drains and ends the process with status 0."""
    async with suite_process(tmp_path, "serve", "router") as suite:
        suite.process.terminate()
        assert await asyncio.wait_for(suite.process.wait(), 15) == 0


async def test_cache_lists_shows_moves_and_purges(running: SuiteProcess, tmp_path: Path) -> None:
    """What was answered can be listed, shown, exported, purged and imported again under the same id."""
    at = ("--address", running.address)
    asked = await fulcrum("complete", "What is the capital of Portugal?", *at)
    assert asked.status == 0
    listed = await fulcrum("cache", "ls", "--limit", "1", "--json", *at)
    entry = json.loads(listed.out)
    assert (entry["text"], entry["source"]) == ("What is the capital of Portugal?", "edge")
    shown = await fulcrum("cache", "show", entry["entry_id"], *at)
    assert json.loads(shown.out)["answer"]["text"] in asked.out
    exported = await fulcrum("cache", "export", "--tenant", "local", *at)
    lines = [line for line in exported.out.splitlines() if "Portugal" in line]
    purged = await fulcrum("cache", "purge", "--id", entry["entry_id"], *at)
    assert purged.out == "1 entries removed\n"
    taken = await piped("\n".join(lines).encode(), "cache", "import", "-", *at)
    assert taken.out == "1 entries imported, 0 were there already or have a newer answer\n", taken.err
    assert json.loads((await fulcrum("cache", "ls", "--limit", "1", "--json", *at)).out) == entry
    bad = tmp_path / "bad.jsonl"
    bad.write_text(f"{lines[0]}\n{{}}\n")
    refused = await fulcrum("cache", "import", str(bad), *at)
    assert (refused.status, "line 2" in refused.err) == (2, True)
    nothing = await fulcrum("cache", "purge", *at)
    assert (nothing.status, "purge: got no condition, expected --id" in nothing.err) == (2, True)


async def test_cache_is_warmed_up_from_a_file(running: SuiteProcess, tmp_path: Path) -> None:
    """A log teaches a tenant's scope; one with a mistake is refused by its line, and the help shows both kinds."""
    at = ("--address", running.address, "--tenant", "novice")
    rows = [
        {"text": f"{way} is the capital of country {n}?", "answer": f"{n}"}
        for n in range(40)
        for way in ("What", "Which")
    ]
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    warmed = await fulcrum("cache", "warm", str(log), *at)
    assert warmed.status == 0, warmed.err
    assert warmed.out.startswith("80 rows read, the latest 80 texts used: 79 labels (")
    assert "a verifier is trained on " in warmed.out
    log.write_text(log.read_text() + '{"text": "x", "answer": 1}')
    refused = await fulcrum("cache", "warm", str(log), *at)
    assert (refused.status, "line 81: answer: got 1, expected a text" in refused.err) == (2, True)
    told = (await fulcrum("cache", "warm", "--help")).out
    assert '"label": "same"' in told
    assert '"answer":' in told


async def test_cache_embeds_anew(running: SuiteProcess) -> None:
    """Entries of another encoder get vectors of the one that serves; run again, nothing is left to do."""
    at = ("--address", running.address)
    await fulcrum("complete", "How deep is the sea?", *at)
    lines = (await fulcrum("cache", "export", *at)).out.splitlines()
    row = next(row for row in map(json.loads, lines) if row["entry"]["text"] == "How deep is the sea?")
    digest = row["embedding"]["encoder_digest"]
    row["entry"] |= {"entry_id": "", "text": "How deep is it?"}
    row["embedding"]["encoder_digest"] = "ab" * 32
    await piped(json.dumps(row).encode(), "cache", "import", "-", *at)
    done = await fulcrum("cache", "reembed", "--rate", "1000", "--encoder", running.address, *at)
    assert (done.status, done.err) == (0, "")
    assert f"entries embedded by {digest[:16]}" in done.out
    rows = [json.loads(line) for line in (await fulcrum("cache", "export", *at)).out.splitlines()]
    assert {row["embedding"]["encoder_digest"] for row in rows} == {digest}
    again = await fulcrum("cache", "reembed", *at)
    assert again.out.startswith("0 entries embedded")
