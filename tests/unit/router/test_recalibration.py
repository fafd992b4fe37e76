"""Calibrating anew on logged outcomes: what is taken, what is refused, and that the bound then holds again."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.router.artefact import load_artefact
from services.router.predictor import Predictor
from services.router.recalibration import logged, recalibrated
from services.router.scored import InvalidOutcomes
from tests.unit.router.parts import MODELS, artefact

VERSION = artefact().version


def line(decision: str, model: str, loss: float | None, score: float) -> dict[str, Any]:
    planned = {"model": model, "quality": None, "loss": loss, "cost_nano_usd": 1, "seconds": None}
    return {"decision_id": decision, "planned": planned, "score": score, "source": "judge", "version": VERSION}


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
    with pytest.raises(InvalidOutcomes, match="got 60 of 61 decisions with scores and predictions of all of small"):
        recalibrated(artefact(), [*outcomes(60), line("half", "small", 0.1, 1.0)])


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
    ],
)
def test_a_damaged_log_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """The refusal names file, line and field."""
    path = tmp_path / "outcomes.jsonl"
    path.write_text(text + "\n")
    with pytest.raises(InvalidOutcomes, match=message):
        list(logged(path))


def test_the_command(tmp_path: Path) -> None:
    """It reads the rotated file too, writes an artefact that loads, and says what it was calibrated on."""
    lines = list(outcomes(150))
    written(tmp_path, iter(lines[:240])).rename(tmp_path / "outcomes.jsonl.1")
    path = written(tmp_path, iter(lines[240:]))
    artefact().save(tmp_path / "old.safetensors")
    command = [sys.executable, "-m", "services.router.recalibration"]
    files = [str(tmp_path / "old.safetensors"), str(path), str(tmp_path / "new.safetensors")]
    done = subprocess.run([*command, *files], capture_output=True, text=True, check=True)
    assert "calibrated on 150 decisions; harm if always chosen: small" in done.stdout
    assert len(load_artefact(tmp_path / "new.safetensors").calibration_losses) == 150
    (tmp_path / "outcomes.jsonl.1").unlink()
    failed = subprocess.run([*command, *files], capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert "expected at least 100" in failed.stderr
