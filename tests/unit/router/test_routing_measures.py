"""The routing benchmark's measures on cases worked by hand, and what outcome files it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.routing import explore
from benchmarks.routing.curve import curve
from benchmarks.routing.embedding import embedded
from benchmarks.routing.promise import Rows, draw, measured
from services.router.scored import InvalidOutcomes, read_scored


def test_a_perfect_ranking_recovers_all_with_the_prompts_that_gain() -> None:
    """Two of ten prompts gain and rank first: PGR is 0.5 at 10 % and 1 from 20 %; the trapezoid gives 0.9."""
    strong, weak = np.ones(10), np.ones(10)
    weak[:2] = 0
    found = curve(-np.arange(10.0), strong, weak)
    assert found.apgr == pytest.approx(0.9)
    assert found.cpt(0.5) == pytest.approx(10)
    assert found.cpt(0.8) == pytest.approx(16)
    assert found.calls_for(1.0) == 2


def test_the_worst_ranking_recovers_nothing_until_the_end() -> None:
    """The same prompts ranked last: APGR is 0.1."""
    strong, weak = np.ones(10), np.ones(10)
    weak[:2] = 0
    assert curve(np.arange(10.0), strong, weak).apgr == pytest.approx(0.1)


def test_embeddings_are_kept_in_a_folder_that_is_new(tmp_path: Path) -> None:
    """It is made; the next run reads what the first kept."""
    prompts, kept = tmp_path / "outcomes.jsonl", tmp_path / "a" / "folder" / "outcomes.npy"
    prompts.write_text('{"prompt": "x", "scores": {"a": 1}}\n{"prompt": "a longer one", "scores": {"a": 0}}\n')
    vectors = embedded(read_scored([prompts]), kept)
    assert vectors.shape == (2, 384)
    np.save(kept, vectors * 2)
    assert np.array_equal(embedded(read_scored([prompts]), kept), vectors * 2)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1: is not JSON"),
        ('{"prompt": " ", "scores": {"a": 1}}', "line 1: prompt: expected a text"),
        ('{"prompt": "x", "scores": {}}', "line 1: scores: got"),
        ('{"prompt": "x", "scores": {"a": 1.5}}', "scores of a: got 1.5, expected a number from 0 to 1"),
        ('{"prompt": "x", "scores": {"a": 1}, "mean_logprobs": {"b": -1}}', "mean_logprobs: got"),
        (
            '{"prompt": "x", "scores": {"a": 1}, "mean_logprobs": {"a": 1}}',
            "mean_logprobs of a: got 1, expected a number",
        ),
        ('{"prompt": "x", "scores": {"a": 1}, "agreements": {"b": 1}}', "agreements: got"),
        ('{"prompt": "x", "scores": {"a": 1}, "agreements": {"a": 0.5}}', "agreements of a: got 0.5, expected a share"),
        (
            '{"prompt": "x", "scores": {"a": 1}, "agreements": {"a": 3}}',
            "agreements of a: got 3, expected a share of 3",
        ),
    ],
)
def test_refuses_bad_outcomes(tmp_path: Path, line: str, message: str) -> None:
    """The refusal names file, line and field."""
    path = tmp_path / "outcomes.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(InvalidOutcomes, match=message):
        read_scored([path])


def test_of_a_repeated_prompt_one_row_counts(tmp_path: Path) -> None:
    """Who is right in 55 % of its answers to each prompt is right in so many rows, not in all; it is remarked."""
    path, rng = tmp_path / "outcomes.jsonl", np.random.default_rng(0)
    right = (rng.uniform(size=(400, 4)) < 0.55).astype(float)
    rows = [{"prompt": f"p{place // 4}", "scores": {"a": one, "b": 1 - one}} for place, one in enumerate(right.flat)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_scored([path])
    assert set(found.of("a")) == {0.0, 1.0}
    assert np.mean(found.of("a")) == pytest.approx(0.55, abs=0.07)
    np.testing.assert_array_equal(found.of("b"), 1 - found.of("a"))  # of the same row
    assert found.remarks == ["1200 rows repeat a prompt: one row of each counts, drawn by chance"]


def test_rows_of_a_prompt_that_share_no_model_are_one(tmp_path: Path) -> None:
    """A model asked in one row and another in the next are known of the same prompt; fuller rows are preferred."""
    path = tmp_path / "outcomes.jsonl"
    told = [{"a": 1}, {"b": 0.5}, {"a": 0}, {"a": 0}]
    path.write_text("".join(json.dumps({"prompt": "x", "scores": scores}) + "\n" for scores in told))
    found = read_scored([path])
    assert (found.of("a").tolist(), found.of("b").tolist()) == ([1.0], [0.5])


def test_labels_that_say_nothing_are_not_set(tmp_path: Path) -> None:
    """Null and empty are no group that prompts share, and no domain; other values are labels by their text."""
    path = tmp_path / "outcomes.jsonl"
    labels = [None, None, "", 7, "7"]
    rows = [{"prompt": f"p{place}", "scores": {"a": 1}, "group": x, "domain": x} for place, x in enumerate(labels)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_scored([path])
    assert found.groups == ("p0", "p1", "p2", "7", "7")
    assert found.domains == ("", "", "", "7", "7")


def test_a_draw_parts_no_group() -> None:
    """All prompts of one question are on one side, about as many as asked for are calibrated, and all are used."""
    groups = np.repeat(np.arange(100), np.random.default_rng(0).integers(1, 9, 100))
    calibrated, asked = draw(groups, 200, seed=1)
    assert not set(groups[calibrated]) & set(groups[asked])
    assert sorted([*calibrated, *asked]) == list(range(len(groups)))
    assert 190 <= len(calibrated) <= 200


def test_one_calibration_is_held_to_the_rows_asked() -> None:
    """Harm and strong shares are those of the rows asked: here losses tell harms apart, so half goes to the weak."""
    harms = np.arange(2000) % 2 == 1
    rows = Rows(("weak",), np.where(harms, 0.9, 0.1).astype(np.float32)[:, None], harms[:, None], np.arange(2000))
    found = measured(rows, np.arange(1000), np.arange(1000, 2000), 0.05, 0.9)
    assert found["harm"] == found["confident_harm"] == found["draws_over_bound"] == 0
    assert found["strong_share"] == found["confident_strong_share"] == found["strong_share_hindsight"] == 0.5


def test_exploring_is_measured_beside_what_it_replaces() -> None:
    """Losses tell harms apart: exploring finds that, and the harm of all; what was served knows good answers alone."""
    rng = np.random.default_rng(0)
    losses = rng.uniform(0, 1, 3000).astype(np.float32)
    rows = Rows(("weak",), losses[:, None], (losses > 0.5)[:, None], np.arange(3000))
    parts = np.arange(100), np.arange(100, 2000), np.arange(2000, 3000)
    found = explore.measured(rows, *parts, 0.05, 0.5, seed=0)
    assert found["harm_of_served"] < 0.1
    assert found["true_harm"] == pytest.approx(0.5, abs=0.05)
    assert found["interval_holds"] == 1
    assert found["strong_share_comparisons_alone"] >= found["strong_share_explored"]
    assert found["harm_explored"] == pytest.approx(0.05, abs=0.03)
