"""Calibrating anew on logged outcomes: what is taken, what is refused, and that the bound then holds again."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.router.artefact import load_artefact
from services.router.logged_decisions import checked, logged
from services.router.predictor import Predictor
from services.router.recalibration import recalibrated
from services.router.scored import InvalidOutcomes
from tests.unit.router.parts import MODELS, artefact

VERSION = artefact().version


def line(decision: str, model: str, loss: float | None, score: float, **changes: Any) -> dict[str, Any]:
    planned = {"model": model, "quality": None, "loss": loss, "cost_nano_usd": 1, "seconds": None}
    known = {"decision_id": decision, "planned": planned, "score": score, "source": "judge", "version": VERSION}
    unset: dict[str, Any] = {"unfamiliar": False, "sampled": None, "explored": False, "bound": None, "contested": None}
    unset["excluded"] = []
    return {**known, "group": f"prompt of {decision}", **unset, **changes}


def outcomes(decisions: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Harms twice as often as predicted."""
    rng = np.random.default_rng(seed)
    for number in range(decisions):
        for model in MODELS:
            loss = 0.0 if model == "large" else float(rng.uniform(0, 0.5))
            yield line(f"d{number}", model, loss, float(rng.uniform() >= 2 * loss))


def written(folder: Path, lines: Iterator[dict[str, Any]]) -> Path:
    path = folder / "outcomes.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    return path


def true_harm(threshold: float) -> float:
    """Of `outcomes`, where small answers below a threshold: losses are uniform to 0.5, and harm is twice as likely."""
    return 2 * threshold**2


def test_where_harm_has_doubled_the_threshold_sinks_and_the_bound_holds() -> None:
    """Outcomes that harm more than the calibrated ones give a stricter threshold, which keeps the bound again."""
    before, bound = artefact(prompts=2000), 0.05
    anew = [recalibrated(before, outcomes(1000, seed)) for seed in range(10)]
    old, *new = (Predictor(one).calibration.threshold(("small",), bound, None) for one in (before, *anew))
    assert true_harm(old) > 1.5 * bound
    assert 0.8 * bound < np.mean([true_harm(one) for one in new]) <= bound
    assert anew[0].facts.metrics["recalibrated_decisions"] == 1000


def test_decisions_that_say_too_little_are_passed_over() -> None:
    """A decision without a model's score or prediction counts for nothing; of two scores the first counts."""
    lines = [*outcomes(120), line("d0", "small", 0.4, 1.0), line("half", "small", 0.1, 1.0)]
    lines += [line("blind", model, None, 1.0) for model in MODELS]
    assert len(recalibrated(artefact(), lines).calibration_losses) == 120
    with pytest.raises(InvalidOutcomes, match="60 of 61 decisions with scores and predictions of all of small"):
        recalibrated(artefact(), [*outcomes(60), line("half", "small", 0.1, 1.0)])


def test_repeats_of_a_prompt_prove_no_more_than_the_prompt() -> None:
    """A popular prompt is one draw, however often it was asked: what was logged ten times allows no more than once."""
    once = list(outcomes(300))
    repeats = [one | {"decision_id": f"{one['decision_id']} again {place}"} for place in range(9) for one in once]
    first, all_ = recalibrated(artefact(), once), recalibrated(artefact(), [*once, *repeats])
    assert len(all_.calibration_losses) == 10 * len(first.calibration_losses)
    assert all_.facts.metrics["recalibrated_prompts"] == 300
    for confidence in (None, 0.9):
        allowed = [Predictor(one).calibration.threshold(("small",), 0.05, confidence) for one in (first, all_)]
        assert allowed[1] <= allowed[0] * (1 + 1e-6)
    with pytest.raises(InvalidOutcomes, match="got 99 prompts, 990 of 990 decisions"):
        recalibrated(artefact(), [one for one in [*once, *repeats] if int(one["group"].split("d")[1]) < 99])


def test_a_prompt_that_no_promise_covered_is_never_sent() -> None:
    """Unfamiliar prompts count among all, but no threshold sends them, whatever was predicted and whoever was right."""
    lines = list(outcomes(400))
    strange = [one | {"unfamiliar": True} for one in lines if int(one["decision_id"][1:]) % 4 == 0]
    found = recalibrated(artefact(), [*strange, *(one for one in lines if int(one["decision_id"][1:]) % 4)])
    assert np.isinf(found.calibration_losses).all(axis=1).sum() == 100
    assert found.facts.metrics["unfamiliar_share"] == 0.25


def test_how_sure_models_were_is_not_kept() -> None:
    """What the log does not tell of its decisions is not taken from the prompts calibrated before."""
    known = np.full((150, 3), -1.0, np.float32)
    before = replace(artefact(prompts=150), calibration_mean_logprobs=known, calibration_agreements=known + 2)
    after = recalibrated(before, outcomes(150))
    assert (after.calibration_mean_logprobs, after.calibration_agreements) == (None, None)


def test_lines_that_do_not_tell_the_prompt_are_passed_over() -> None:
    """What was logged before prompts had names may all be repeats of one."""
    lines = [{name: value for name, value in one.items() if name != "group"} for one in outcomes(150)]
    with pytest.raises(InvalidOutcomes, match="got 0 prompts"):
        recalibrated(artefact(), (checked("line", json.dumps(one)) for one in lines))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 1: is not JSON"),
        ('{"decision_id": "d", "score": 1}', "line 1: planned: got None"),
        ('{"score": 1, "planned": {"model": "m", "loss": 0}}', "line 1: decision_id: got None"),
        (
            '{"decision_id": "d", "version": "a.b", "score": 2, "planned": {"model": "m"}}',
            "line 1: score: got 2, expected a number from 0",
        ),
        (
            '{"decision_id": "d", "version": "a.b", "score": 1, "planned": {"model": "m", "loss": 3}}',
            "planned.loss: got 3",
        ),
        ('{"decision_id": "d", "score": 1, "planned": {"model": "m", "loss": 0}}', "version: got None"),
        (
            '{"decision_id": "d", "version": "a.b", "group": 1, "score": 1, "planned": {"model": "m", "loss": 0}}',
            "group: got 1, expected a text",
        ),
        (
            '{"decision_id": "d", "version": "a.b", "unfamiliar": 1, "score": 1, "planned": {"model": "m", "loss": 0}}',
            "unfamiliar: got 1, expected true or false",
        ),
        (
            '{"decision_id": "d", "version": "a.b", "sampled": 0, "score": 1, "planned": {"model": "m", "loss": 0}}',
            "sampled: got 0, expected a probability above 0",
        ),
        (
            '{"decision_id": "d", "version": "a.b", "bound": 2, "score": 1, "planned": {"model": "m", "loss": 0}}',
            "bound: got 2, expected a number from 0",
        ),
        (
            '{"decision_id": "d", "version": "a.b", "contested": {"m": "x"}, "score": 1, "planned": {"model": "m"}}',
            "contested: got {'m': 'x'}, expected numbers",
        ),
        (
            '{"decision_id": "d", "version": "a.b", "excluded": ["m", 1], "score": 1, "planned": {"model": "m"}}',
            r"excluded: got \['m', 1\], expected models' names",
        ),
    ],
)
def test_a_damaged_log_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """The refusal names file, line and field."""
    path = tmp_path / "outcomes.jsonl"
    path.write_text(text + "\n")
    with pytest.raises(InvalidOutcomes, match=message):
        list(logged(path, pytest.fail))


@pytest.mark.parametrize("name", ["outcomes.jsonl", "outcomes.jsonl.1"])
@pytest.mark.parametrize("cut", [b'{"decision_id": "d', '{"decision_id": "é'.encode()[:-1]], ids=["a text", "a letter"])
def test_a_torn_last_line_is_left_out_and_told(tmp_path: Path, name: str, cut: bytes) -> None:
    """Of the rotated file too: what a killed process had not written to its end; ended, it is a mistake like any."""
    lines = list(outcomes(2))
    written(tmp_path, iter(lines)).rename(tmp_path / "outcomes.jsonl.1")
    written(tmp_path, iter(lines))
    whole, told = (tmp_path / name).read_bytes(), list[str]()
    (tmp_path / name).write_bytes(whole + cut)
    assert list(logged(tmp_path / "outcomes.jsonl", told.append)) == 2 * lines
    assert told == [f"{tmp_path / name}: its last line was cut off after {len(cut)} bytes and is left out"]
    (tmp_path / name).write_bytes(whole + b'{"decision_id": "d\n')
    with pytest.raises(InvalidOutcomes, match="line 7: is not JSON"):
        list(logged(tmp_path / "outcomes.jsonl", pytest.fail))


def test_a_last_line_that_wants_its_end_alone_counts(tmp_path: Path) -> None:
    """It is whole, so it is checked and taken as the others."""
    lines = list(outcomes(2))
    path = written(tmp_path, iter(lines))
    path.write_text(path.read_text().rstrip("\n"))
    assert list(logged(path, pytest.fail)) == lines
    path.write_text(path.read_text() + '\n{"score": 2}')
    with pytest.raises(InvalidOutcomes, match="line 7: planned"):
        list(logged(path, pytest.fail))


def test_the_command(tmp_path: Path) -> None:
    """It reads the rotated file too, writes an artefact that loads, and says what it was calibrated on."""
    lines = list(outcomes(150))
    written(tmp_path, iter(lines[:240])).rename(tmp_path / "outcomes.jsonl.1")
    path = written(tmp_path, iter(lines[240:]))
    path.write_text(path.read_text() + '{"score":')
    artefact().save(tmp_path / "old.safetensors")
    command = [sys.executable, "-m", "services.cli", "router", "recalibrate"]
    files = [str(tmp_path / "old.safetensors"), str(path), "--out", str(tmp_path / "new.safetensors")]
    done = subprocess.run([*command, *files], capture_output=True, text=True, check=True)
    assert "calibrated on 150 decisions of 150 prompts; harm where all were scored: small" in done.stdout
    assert "asked first: no model can be" in done.stdout
    assert f"note: {path}: its last line was cut off after 9 bytes and is left out" in done.stderr
    assert len(load_artefact(tmp_path / "new.safetensors").calibration_losses) == 150
    (tmp_path / "outcomes.jsonl.1").unlink()
    failed = subprocess.run([*command, *files], capture_output=True, text=True, check=False)
    assert failed.returncode == 2
    assert "expected at least 100" in failed.stderr
