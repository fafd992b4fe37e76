"""`fulcrum router publish|versions|rollback`: a worse router is refused with figures, and one command goes back."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.cli import router_reading, routing
from services.cli.__main__ import main
from services.router.artefact import FORMAT, load_artefact
from tests.unit.cli.test_routing import fitted, outcomes  # noqa: F401 (a fixture)
from tests.unit.router.test_service import CATALOGUE


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings of a router that serves no file yet, for the models of `outcomes`."""
    (tmp_path / "catalogue.yaml").write_text(CATALOGUE)
    section = {
        "catalogue": str(tmp_path / "catalogue.yaml"),
        "predictor": str(tmp_path / "serving.safetensors"),
        "max_quality_loss": 1.0,  # edge asks for its own
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"router": section, "edge": {"max_quality_loss": 0.1}}))
    return path


def version(path: Path) -> str:
    return load_artefact(path).version


def test_publish_refuse_and_roll_back(
    fitted: Path,  # noqa: F811
    config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The first serves; one calibrated on rosy outcomes is refused; a good one comes and goes."""
    serving, fresh = tmp_path / "serving.safetensors", outcomes(tmp_path / "fresh.jsonl", 240, seed=5)
    said = ["--config", str(config)]
    main(["router", "publish", str(fitted), str(fresh), *said])
    assert "version 1 (" in capsys.readouterr().out
    assert version(serving) == version(fitted)

    rosy = tmp_path / "rosy.jsonl"
    rosy.write_text(outcomes(tmp_path / "other.jsonl", 240, seed=7).read_text().replace('"small": 0', '"small": 1'))
    careless = tmp_path / "careless.safetensors"
    main(["router", "calibrate", str(fitted), str(rosy), "--out", str(careless)])
    with pytest.raises(SystemExit) as ended:
        main(["router", "publish", str(careless), str(fresh), *said])
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert "is refused on 240 prompts: it harms " in told.err
    assert "more than a bound of 0.05 allows" in told.err
    assert "held to a bound of 0.05, which edge asks of the router" in told.out
    assert version(serving) == version(fitted)

    again = tmp_path / "again.safetensors"
    main(["router", "calibrate", str(fitted), str(outcomes(tmp_path / "more.jsonl", 240, seed=6)), "--out", str(again)])
    main(["router", "publish", str(again), str(fresh), *said])
    assert version(serving) == version(again)
    main(["router", "rollback", *said])
    assert version(serving) == version(fitted)
    capsys.readouterr()
    main(["router", "versions", *said])
    listed = capsys.readouterr().out
    assert "serves" in listed
    assert "withdrawn" in listed
    with pytest.raises(SystemExit):
        main(["router", "publish", str(again), str(fresh), *said])
    assert f"{again}: was withdrawn by a rollback, as version 2" in capsys.readouterr().err
    assert version(serving) == version(fitted)
    main(["router", "publish", str(again), str(fresh), "--again", *said])
    assert version(serving) == version(again)


def test_what_cannot_be_used_is_in_nobodys_way(
    fitted: Path,  # noqa: F811
    config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A serving file of an older format, or of another encoder, is told and replaced; listed, never gone back to."""
    serving, fresh = tmp_path / "serving.safetensors", outcomes(tmp_path / "fresh.jsonl", 240, seed=5)
    said = ["--config", str(config)]
    serving.write_bytes(fitted.read_bytes().replace(FORMAT.encode(), b"fulcrum-router-0"))
    main(["router", "publish", str(fitted), str(fresh), *said])
    assert "what serves cannot be compared with, so only the bound is held" in capsys.readouterr().err
    assert version(serving) == version(fitted)
    with pytest.raises(SystemExit):
        main(["router", "rollback", *said])
    assert "no version before can be used" in capsys.readouterr().err
    main(["router", "versions", *said])
    assert "cannot be used" in capsys.readouterr().out

    known = load_artefact(fitted)
    replace(known, facts=replace(known.facts, encoder_digest="ab" * 32)).save(serving)
    main(["router", "publish", str(fitted), str(fresh), *said])
    assert "encoder_digest" in capsys.readouterr().err
    assert version(serving) == version(fitted)


def test_one_that_has_lost_a_model_is_compared_with_what_serves(
    fitted: Path,  # noqa: F811
    config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What serves may choose the model that the new one does not know, whose scores are asked for."""
    path = tmp_path / "catalogue.yaml"
    path.write_text(
        CATALOGUE.replace("name: unpriced", "price: {published: {provider: openai, model: o3}}, name: middle")
    )
    fresh, said = (
        outcomes(tmp_path / "fresh.jsonl", 240, seed=5),
        ["--config", str(config), "--max-quality-loss", "0.2"],
    )
    main(["router", "publish", str(fitted), str(fresh), *said])
    assert "held to a bound of 0.2, as --max-quality-loss says" in capsys.readouterr().out
    known, dearer = load_artefact(fitted), tmp_path / "dearer.safetensors"
    replace(known, facts=replace(known.facts, models=("large", "middle"))).save(dearer)
    rows = [json.loads(line) for line in fresh.read_text().splitlines()]
    for lost, problem in (({}, "it costs "), ({"small"}, "scores: got none of small, expected one of each model")):
        for row in rows:
            scores = row["scores"] | {"middle": row["scores"].get("small", 1)}
            row["scores"] = {model: score for model, score in scores.items() if model not in lost}
        fresh.write_text("".join(json.dumps(row) + "\n" for row in rows))
        with pytest.raises(SystemExit):
            main(["router", "publish", str(dearer), str(fresh), *said])
        told = capsys.readouterr()
        assert problem in told.err
    assert version(path.with_name("serving.safetensors")) == version(fitted)


def test_publishing_in_vain_is_refused(
    fitted: Path,  # noqa: F811
    config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What serves already, and what was fitted on another encoder than the settings embed prompts by."""
    fresh, said = outcomes(tmp_path / "fresh.jsonl", 240, seed=5), ["--config", str(config)]
    settings = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump(settings | {"executor": {"encoder": {"precision": "int8"}}}))
    with pytest.raises(SystemExit):
        main(["router", "publish", str(fitted), str(fresh), *said])
    assert "executor.encoder.precision: got int8, expected fp32" in capsys.readouterr().err
    elsewhere = settings["edge"] | {"encoder": {"address": "127.0.0.1:1"}}
    config.write_text(yaml.safe_dump(settings | {"executor": {"encoder": {"precision": "int8"}}, "edge": elsewhere}))
    main(["router", "publish", str(fitted), str(fresh), *said])
    assert "version 1 (" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["router", "publish", str(fitted), str(fresh), *said])
    assert "serves already, as version 1 (" in capsys.readouterr().err


def test_what_it_was_calibrated_on_judges_nothing(
    fitted: Path,  # noqa: F811
    config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its bound holds on these prompts whatever it does on others, so they are left out, and none are too few."""
    more, new = outcomes(tmp_path / "more.jsonl", 240, seed=6), tmp_path / "new.safetensors"
    main(["router", "calibrate", str(fitted), str(more), "--out", str(new)])
    both, said = tmp_path / "both.jsonl", ["--config", str(config)]
    both.write_text(more.read_text() + outcomes(tmp_path / "fresh.jsonl", 240, seed=5).read_text())
    with pytest.raises(SystemExit):
        main(["router", "publish", str(new), str(more), *said])
    assert "outcomes: got 0 prompts, expected at least 100" in capsys.readouterr().err
    main(["router", "publish", str(new), str(both), *said])
    told = capsys.readouterr()
    assert "note: 240 of 480 prompts are left out, as the router was fitted or calibrated on them" in told.err
    assert "version 1 (" in told.out


@pytest.mark.parametrize("changed", ["new", "serving"])
def test_a_file_replaced_while_it_is_judged_is_refused(
    changed: str,
    fitted: Path,  # noqa: F811
    config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither an unjudged router serves, nor one that was compared with what no longer does."""
    serving, fresh = tmp_path / "serving.safetensors", outcomes(tmp_path / "fresh.jsonl", 240, seed=5)
    new, other = tmp_path / "new.safetensors", tmp_path / "other.safetensors"
    new.write_bytes(fitted.read_bytes())
    main(["router", "calibrate", str(fitted), str(outcomes(tmp_path / "more.jsonl", 240, seed=6)), "--out", str(other)])

    def embedded(*arguments: Any) -> Any:
        (new if changed == "new" else serving).write_bytes(other.read_bytes())
        return router_reading.embedded(*arguments)

    monkeypatch.setattr(routing, "embedded", embedded)
    with pytest.raises(SystemExit):
        main(["router", "publish", str(new), str(fresh), "--config", str(config)])
    assert f"{new if changed == 'new' else serving}: was replaced meanwhile" in capsys.readouterr().err
    assert serving.exists() is (changed == "serving")
