"""Harm is one thing for whoever counts it: fit, gate, alarm, log of outcomes, report and benchmarks."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.routing import draws, promise
from services.router.evaluation import Predicted
from services.router.fit import Outcomes, targets
from services.router.gate import compare
from services.router.harm import harms
from services.router.logged_decisions import Decision
from services.router.predictor import Predictor
from services.router.query import Objective
from tests.unit.router.parts import DIGEST, DIMENSION, artefact, familiar, policy, query

_ROWS = 300


@pytest.mark.parametrize(
    ("score", "strong", "harmed"),
    [
        (0.0, 1.0, True),
        (1.0, 1.0, False),
        (0.0, 0.0, False),
        (1.0, 0.0, False),
        (0.49, 0.51, False),  # graders err by as much
        (0.5, 0.5, False),
        (0.75, 1.0, True),  # one grade of five
        (0.8, 1.0, False),
        (0.55, 1.0, True),  # it answers well, and yet worse
        (0.1, 0.35, True),  # a difference that is 0.24999999999999997
        (float("nan"), 1.0, False),
    ],
)
def test_whoever_counts_harm_counts_the_same(score: float, strong: float, harmed: bool, tmp_path: Path) -> None:
    """Scores are graded, and a tie, or what a grader's noise makes, is no harm."""
    assert harms(score, strong) is harmed
    assert harms(np.array([score]), np.array([strong])).tolist() == [harmed]
    if np.isnan(score):
        return
    counted: dict[str, Callable[[float, float], bool]] = {
        "fit": lambda one, two: bool(targets({"a": np.array([one]), "b": np.array([two])}, "b")[0, 2]),
        "gate": _by_gate,
        "alarm": _by_alarm,
        "log": lambda one, two: Decision("", False, scores={"a": one, "b": two}).harmed("a", "b"),
        "report": _by_report,
        "benchmark": _by_benchmark,
        "promise": lambda one, two: _by_promise(one, two, tmp_path),
    }
    assert {name: count(score, strong) for name, count in counted.items()} == dict.fromkeys(counted, harmed)


def _by_gate(score: float, strong: float) -> bool:
    texts = [str(row) for row in range(_ROWS)]
    vectors = np.tile(np.eye(1, DIMENSION, dtype=np.float32), (_ROWS, 1))
    scores = {name: np.full(_ROWS, one) for name, one in {"small": score, "middle": strong, "large": strong}.items()}
    cheap = policy(predictor=Predictor(artefact(losses=(0.0, 0.0, 0.0))))
    known = Outcomes(texts, vectors, scores, texts, [""] * _ROWS)
    return bool(compare(cheap, None, known, DIGEST, Objective(0.1))[0].new.harmed.mean() == 1)


def _by_alarm(score: float, strong: float) -> bool:
    made = policy(predictor=Predictor(artefact()))
    made.scored(made.plan(query(loss=0.1, vector=familiar())), "large", {"small": score, "large": strong})
    return made.promise.harmed == 1


def _by_report(score: float, strong: float) -> bool:
    facts = np.zeros((1, 2))
    rows = Predicted(("b", "a"), 0, facts, facts, np.array([[strong, score]]), facts, ("",))
    return rows.harm(np.array([1])) == 1


def _by_benchmark(score: float, strong: float) -> bool:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(_ROWS, DIMENSION)).astype(np.float32)
    best, worst = np.full(_ROWS, strong), np.full(_ROWS, score)
    best[0], worst[0] = 1, 0  # something to recover, whatever is asked
    prompts = draws.Prompts(vectors, np.zeros((_ROWS, 53), np.float32), [""] * _ROWS, best, worst, None)
    order = np.arange(_ROWS)[::-1]
    return draws.promise(prompts, order[:150], order[150:], 1.0, 0.9)["harm"] > 0.5


def _by_promise(score: float, strong: float, folder: Path) -> bool:
    scores = [(0.0, 1.0), *[(score, strong)] * (_ROWS - 1)]
    rows = [{"prompt": f"Prompt {row}", "scores": {"a": one, "b": two}} for row, (one, two) in enumerate(scores)]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    np.save(folder / "rows.npy", np.random.default_rng(0).normal(size=(_ROWS, DIMENSION)).astype(np.float32))
    asked = argparse.Namespace(
        outcomes=path, models=["a", "b"], fitted=150, calibrated=50, group_by=None, embeddings=folder
    )
    return bool(promise.prepared(asked).harms.mean() > 0.5)
