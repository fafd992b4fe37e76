"""Decisions are remembered within a bound; answers are assessed against their plan; scores reach a bounded log."""

import asyncio
import json
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from services.chassis.errors import NotFound, Overloaded, Unavailable
from services.router.assessment import Signals, assess
from services.router.decisions import Decisions, place
from services.router.outcome_log import Outcome, OutcomeLog
from services.router.plan import Plan, Planned
from services.router.predictor import Predictor
from tests.unit.router.parts import artefact, familiar, policy, query


def plan(loss: float = 0.5) -> Plan:
    return policy(predictor=Predictor(artefact())).plan(query(loss=loss, vector=familiar()))


def test_the_oldest_is_forgotten() -> None:
    """No more plans are kept than the capacity, and a forgotten one is not found."""
    decisions = Decisions(3)
    ids = [decisions.remember(plan(), "acme") for _ in range(5)]
    assert len(set(ids)) == 5
    assert len(decisions) == 3
    assert decisions.recall(ids[-1]).models
    with pytest.raises(NotFound) as caught:
        decisions.recall(ids[0])
    assert (caught.value.reason, caught.value.field) == ("ID_UNKNOWN", "decision_id")


async def test_words_at_once_share_how_the_first_ends() -> None:
    """None is told that all is well where nothing was written; after a failure the next word is the first."""
    decisions, written = Decisions(3), []
    decision_id = decisions.remember(plan(), "acme")

    async def write(fails: bool) -> None:
        await asyncio.sleep(0)
        if fails:
            raise Unavailable("log", "full", "room")
        written.append(fails)

    said = [decisions.hear(decision_id, "small", partial(write, fails)) for fails in (True, False)]
    assert [type(end) for end in await asyncio.gather(*said, return_exceptions=True)] == [Unavailable] * 2
    for _ in range(2):
        await decisions.hear(decision_id, "small", partial(write, False))
    assert len(written) == 1


async def test_a_word_whose_caller_left_is_written_once() -> None:
    """Its repeat waits for it, and says it no second time; with its decision it is forgotten."""
    decisions, written, free = Decisions(1), [], asyncio.Event()
    decision_id = decisions.remember(plan(), "acme")

    async def write() -> None:
        await free.wait()
        written.append(decision_id)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await decisions.hear(decision_id, "small", write)
    repeat = asyncio.create_task(decisions.hear(decision_id, "small", write))
    await asyncio.sleep(0)
    assert not repeat.done()
    free.set()
    await repeat
    assert len(written) == 1
    decisions.remember(plan(), "acme")
    await decisions.hear(decision_id, "small", write)
    assert len(written) == 2


@pytest.mark.parametrize(
    ("signals", "escalate_to", "words"),
    [
        (Signals("small", True, 5), "", "finished"),
        (Signals("small", False, 5), "large", "cut off"),
        (Signals("small", True, 0), "large", "is empty"),
        (Signals("large", False, 5), "", "no stronger model"),
        (Signals("middle", False, 5), "", "no stronger model"),
    ],
)
def test_assessment(signals: Signals, escalate_to: str, words: str) -> None:
    """An empty or cut answer of the cheap model goes to the strong one; a fall-back's stands, the strong one failed."""
    found = assess(plan(), signals)
    assert found.escalate_to == escalate_to
    assert words in found.explanation


def test_models_outside_the_plan_are_not_found() -> None:
    """A model that the plan does not hold is named with those that it does."""
    with pytest.raises(NotFound, match="small, large, middle") as caught:
        assess(plan(), Signals("other", True, 5))
    assert (caught.value.reason, caught.value.field) == ("MODEL_UNKNOWN", "signals.model")
    assert place(plan(), "middle", "model").model == "middle"


async def test_outcomes_are_logged_within_a_bound(tmp_path: Path) -> None:
    """Every score is one line of JSON beside its prediction; two files of bounded size are kept."""
    path = tmp_path / "var" / "outcomes.jsonl"
    log = OutcomeLog(path, max_bytes=4096)
    for number in range(60):
        await log.append(
            Outcome(f"d{number}", Planned("small", 0.6, 0.1, 12), 0.5, "user", "a.b", "ab", False, 0.02, {})
        )
    await log.close()
    older = path.with_name("outcomes.jsonl.1")
    assert {entry.name for entry in path.parent.iterdir()} == {path.name, older.name}
    assert path.stat().st_size <= 4096
    assert older.stat().st_size <= 4096
    last = json.loads(path.read_text().splitlines()[-1])
    assert last["decision_id"] == "d59"
    known = {"model": "small", "quality": 0.6, "loss": 0.1, "cost_nano_usd": 12, "seconds": None}
    assert last["planned"] == {**known, "may_stand_in": False}


@pytest.mark.parametrize(("last", "kept"), [(b'{"decision_id": "torn', 2), (b'{"decision_id": "whole"}', 3)])
@pytest.mark.parametrize("max_bytes", [4096, 400], ids=["in the file", "as it is rotated"])
async def test_nothing_is_appended_to_a_torn_line(tmp_path: Path, last: bytes, kept: int, max_bytes: int) -> None:
    """What a killed process left goes with a warning, what only wants its end stays; each line is JSON afterwards."""
    path = tmp_path / "outcomes.jsonl"
    for cut, warnings in ((b"", 0), (last, 3 - kept)):
        path.write_bytes(path.read_bytes() + cut if path.exists() else b"")
        log = OutcomeLog(path, max_bytes)
        with capture_logs() as logs:
            await log.append(Outcome("d", Planned("small", 0.6, 0.1, 12), 0.5, "user", "a.b", "ab", False, 0.02, {}))
        await log.close()
        assert [line["log_level"] for line in logs] == ["warning"] * warnings
    files = [file for file in (path.with_name("outcomes.jsonl.1"), path) if file.exists()]
    assert len(files) == (1 if max_bytes == 4096 else 2)
    assert len([json.loads(line) for file in files for line in file.read_text().splitlines()]) == kept
    assert all(file.read_bytes().endswith(b"\n") for file in files)


async def test_a_lagging_log_refuses(tmp_path: Path) -> None:
    """Where too many scores wait, the next is refused at once with a time to come back."""
    log = OutcomeLog(tmp_path / "outcomes.jsonl", max_bytes=4096, max_waiting=0)
    with pytest.raises(Overloaded) as caught:
        await log.append(Outcome("d", Planned("small", None, None, None), 1.0, "user", "a.b", "ab", False, 0.02, {}))
    assert caught.value.retry_after_s == 1.0
    await log.close()
