"""`fulcrum router`: from a file of outcomes to a router and its page, and what it says of bad files."""

import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.cli.__main__ import main
from services.cli.router_deciding import Deciding
from services.router.artefact import load_artefact
from services.router.catalogue import Catalogue
from services.router.eligibility import Eligibility
from services.router.policy import Policy
from services.router.predictor import Predictor
from services.router.prices import ListPrice
from services.router.query import Objective
from tests.unit.router.parts import artefact, familiar, model, query

EASY = "What is the capital of {}?"
SIGNALS = ("mean_logprobs", "agreements")
HARD = "Prove that the {} group of order {} is solvable."


def outcomes(path: Path, rows: int = 240, seed: int = 0, certain: bool = False) -> Path:
    """Capitals both models know; of proofs the small one fails four in five, and then is less sure."""
    chance = random.Random(seed)
    lines = []
    for number in range(rows):
        hard = number % 2
        prompt = HARD.format(f"{number}th", chance.randrange(9999)) if hard else EASY.format(f"land {seed} of {number}")
        small = int(not hard or chance.random() < 0.2)
        scored = {"prompt": prompt, "scores": {"large": 1, "small": small}, "domain": "proof" if hard else "fact"}
        sure = {"mean_logprobs": {"small": small - 1.5}, "agreements": {"small": round(small * 2 / 3, 2)}}
        lines.append(scored | (sure if certain else {}))
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("router")
    path = folder / "router.safetensors"
    main(["router", "fit", str(outcomes(folder / "log.jsonl")), "--default", "large", "--out", str(path)])
    return path


def test_a_page_shows_what_the_router_gives(fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Evaluated on rows it never saw, the page holds three plots and the domains with their harm, and loads nothing."""
    page = tmp_path / "page.html"
    asked = outcomes(tmp_path / "new.jsonl", 60, seed=1)
    priced = ["--price", "large=10/30", "--price", "small=1/1"]
    bound = ["--max-quality-loss", "0.05"]
    main(["router", "evaluate", str(fitted), str(asked), "--html", str(page), *bound, *priced])
    text = page.read_text()
    assert text.count("<svg") == 3
    assert "predicted loss" in text
    domain = text.split("<td>proof</td>")[1].split("</tr>")[0]
    assert re.search(r"\d+\.\d\d% \(\d+\.\d\d% to \d+\.\d\d%\)", domain)
    assert "not about each domain's" in text
    assert "proof" in text
    assert "always small" in text
    assert "http" not in text
    told = capsys.readouterr().out
    cost, strong = (float(part.split()[0]) for part in told.split("cost ")[1].split(", ")[:2])
    assert cost < 0.8 * strong


def test_explains_a_prompt(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The choice comes with domain, uncertainty and the limit that decided; a bound of 0 leaves the default."""
    cases = ((EASY.format("land 0 of 241"), "0.05", "small"), (HARD.format("9th", 77), "0", "large"))
    for prompt, bound, chosen in cases:
        main(["router", "explain", str(fitted), prompt, "--max-quality-loss", bound])
        told = capsys.readouterr().out
        assert f"chosen: {chosen};" in told
        assert "domain: " in told
        assert "uncertainty: ±" in told
        for meaning in ("score, 0 to 100 %", "chance of being worse than large", "cost, calls of large", "points"):
            assert meaning in told


def test_what_is_explained_has_units(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Costs are dollars of this request: 25 tokens of a hundred bytes and 256 of the answer, by their prices."""
    priced = ["--price", "large=10/30", "--price", "small=1/1"]
    main(["router", "explain", str(fitted), "x" * 100, *priced])
    told = capsys.readouterr().out
    assert "cost, dollars a request" in told
    assert "0.00793000" in told  # 25 * 10 + 256 * 30 micro-dollars
    assert "counted: 25 tokens of the prompt, 256 of the answer" in told


def test_what_is_explained_is_what_would_be_served() -> None:
    """Where prices cross harm is counted for any model, so less loss is allowed than by the order of one prompt."""
    prompt, vector = "a prompt", familiar().values
    known, allowed = artefact(losses=(0.9, 0.9, 0.0)), []
    for small, middle in ((ListPrice(1, 1, 1, 1), 4.0), (ListPrice(1, 1, 1, 30), 4.0)):
        priced = [f"small=1/{small.output_usd_per_million_tokens}", f"middle={middle}/{middle}", "large=40/40"]
        told = Deciding(known, priced).plan(prompt, vector, Objective(0.05)).explanation
        able: dict[str, Any] = {"context_tokens": 1 << 40, "supports_tools": True, "bytes_per_token": 4}
        strong = model("large", 40, is_default=True, **able)
        models = Catalogue([model("small", 1, **(able | {"price": small})), model("middle", middle, **able), strong])
        served = Policy(Eligibility(models, 256), Predictor(known)).plan(query(prompt, loss=0.05, vector=familiar()))
        assert told == served.explanation
        allowed.append(float(told.split("where below ")[1].split(" %")[0]))
    assert allowed[1] < allowed[0]


def test_calibrates_anew(fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Fresh outcomes replace the calibration and leave the fit; how sure models were is kept where it is known."""
    out = tmp_path / "again.safetensors"
    main(["router", "calibrate", str(fitted), str(outcomes(tmp_path / "new.jsonl", 160, 2, True)), "--out", str(out)])
    told = capsys.readouterr().out
    assert "fitted on 120 prompts, calibrated on 160 others" in told
    assert "of 1.9% with a confidence of 90%, 160 prompts can promise nothing: large answers everything" in told
    found = load_artefact(out)
    assert found.calibration_mean_logprobs is not None
    sure, right = found.calibration_mean_logprobs[:, found.facts.models.index("small")], ~found.calibration_harms
    assert (sure == np.where(right[:, found.facts.models.index("small")], -0.5, -1.5)).all()
    assert np.isnan(found.calibration_mean_logprobs[:, found.facts.models.index("large")]).all()
    assert found.calibration_agreements is not None
    assert found.calibration_agreements[:, found.facts.models.index("small")] == pytest.approx((sure + 1.5) * 0.67)
    assert np.isnan(found.calibration_agreements[:, found.facts.models.index("large")]).all()


def test_who_may_be_asked_first_is_told(fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each weaker model and signal has a line: what is missing where it cannot be, or that it can."""
    out = str(tmp_path / "again.safetensors")
    explained = ["router", "explain", out, HARD.format("9th", 77), "--price", "large=10/30", "--price", "small=1/1"]
    nothing = "asked first: no model can be, as the calibration has no mean_logprobs and no agreements\n"
    lack = "it cannot be: 53 answers of known certainty (the third that fits a risk, of 155), expected at least 100\n"
    can = "it can be, for whole answers, where that saves\n"
    few, enough = ("".join(f"asked first: small, by {name}: {told}" for name in SIGNALS) for told in (lack, can))
    for rows, certain, expected in ((160, False, nothing), (160, True, few), (360, True, enough)):
        log = outcomes(tmp_path / "new.jsonl", rows, 2, certain)
        for action in (
            ["router", "calibrate", str(fitted), str(log), "--out", out],
            [*explained, "--max-quality-loss", "0.1", "--whole-answer"],
        ):
            main(action)
            told = capsys.readouterr().out
            assert expected in told
    assert "chosen: small; asked first, as " in told
    main(explained)
    assert "asked first" not in capsys.readouterr().out


def test_what_it_was_fitted_on_tells_nothing(fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Given the fitted log again, the half that it was fitted on is left out; an evaluation says how many there are."""
    log, out = outcomes(tmp_path / "log.jsonl"), tmp_path / "again.safetensors"
    main(["router", "calibrate", str(fitted), str(log), "--out", str(out)])
    told = capsys.readouterr()
    assert "note: 120 of 240 prompts are left out, as the router was fitted on them" in told.err
    assert "calibrated on 120 others" in told.out
    before, after = (np.sort(load_artefact(path).calibration_losses, axis=0) for path in (fitted, out))
    assert np.allclose(before, after)
    main(["router", "evaluate", str(fitted), str(log), "--html", str(tmp_path / "page.html")])
    assert "fitted on 120 of these 240 prompts" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "group", "expected"),
    [
        (20, "", "got 20 prompts with every model's score, of 20 groups, expected at least 100, of 20"),
        (160, "one", "got 160 prompts with every model's score, of 1 groups, expected at least 100, of 20"),
    ],
)
def test_too_few_prompts_calibrate_nothing(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: int, group: str, expected: str
) -> None:
    """The refusal names what was got and what would do, and nothing is written."""
    path, out = outcomes(tmp_path / "new.jsonl", rows, 2), tmp_path / "again.safetensors"
    lines = [json.loads(line) | {"group": group} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(SystemExit) as ended:
        main(["router", "calibrate", str(fitted), str(path), "--out", str(out)])
    assert ended.value.code == 2
    assert expected in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda rows: rows[:20], "outcomes: got 20 prompts, expected at least 100"),
        (lambda rows: [row | {"scores": {"large": 1, "small": 1}} for row in rows], "nothing to learn"),
        (lambda rows: [*rows[:5], rows[5] | {"scores": {"large": 1.5}}], "line 6: scores of large: got 1.5"),
        (
            lambda rows: [row if place < 50 else row | {"scores": {"large": 1}} for place, row in enumerate(rows)],
            "scores of small: 50 prompts have large's too, expected at least 100",
        ),
        (
            lambda rows: [
                row | {"scores": {name: row["scores"][name]}}
                for row, name in zip(rows, 60 * ["large", "small"], strict=True)
            ],
            "scores of small: 0 prompts have large's too, expected at least 100",
        ),
        (
            lambda rows: [row | {"scores": {"small": row["scores"]["small"]}} for row in rows],
            "default_model: got 'large'",
        ),
        (lambda rows: [row | {"group": "one"} for row in rows], "group: got 1 different ones, expected at least 20"),
        (lambda rows: [*rows, rows[0] | {"prompt": "\ud800"}], "line 121: prompt: got half a surrogate pair"),
    ],
)
def test_bad_logs_are_refused(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    change: object,
    expected: str,
) -> None:
    """Too few rows, one class only, scores out of range and missing models are refused before anything is embedded."""
    monkeypatch.setattr("services.cli.router_fitting.embedded", lambda *_: pytest.fail("prompts were embedded"))
    path, out = outcomes(tmp_path / "log.jsonl", 120), tmp_path / "router.safetensors"
    rows = change([json.loads(line) for line in path.read_text().splitlines()])  # type: ignore[operator]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(SystemExit) as ended:
        main(["router", "fit", str(path), "--default", "large", "--out", str(out)])
    assert ended.value.code == 2
    assert expected in capsys.readouterr().err
    assert not out.exists()


def test_duplicates_and_constants_are_remarked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Repeated prompts count once, blank lines skipped, gaps learned around, a model that is always right told."""
    path = outcomes(tmp_path / "log.jsonl", 240)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0]["scores"].pop("small")
    lines = [json.dumps(row) for row in [*rows, *rows[:7]]]
    path.write_text("\ufeff" + "\n\n".join(lines) + "\n\n", encoding="utf-8")
    main(["router", "fit", str(path), "--default", "large", "--out", str(tmp_path / "router.safetensors")])
    told = capsys.readouterr().err
    assert "7 rows repeat a prompt: one row of each counts, drawn by chance" in told
    assert "of the scores are missing" in told
    assert "large always answers well" in told


def test_a_weak_default_is_remarked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where another model answers well more often than the one that losses are counted against, you are told."""
    path, out = outcomes(tmp_path / "log.jsonl"), str(tmp_path / "router.safetensors")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows[:20]:
        row["scores"] = {"large": 0, "small": 1}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for default, told in (("small", True), ("large", False)):
        main(["router", "fit", str(path), "--default", default, "--out", out])
        assert ("large answers well more often than --default small" in capsys.readouterr().err) is told


@pytest.mark.parametrize("price", ["large", "large=1", "large=a/b", "=1/2", "large=1/-2"])
def test_a_bad_price_is_refused(fitted: Path, capsys: pytest.CaptureFixture[str], price: str) -> None:
    """The refusal shows what a price looks like."""
    with pytest.raises(SystemExit):
        main(["router", "explain", str(fitted), "hello", "--price", price])
    assert "expected MODEL=IN/OUT" in capsys.readouterr().err


@pytest.mark.parametrize("prompt", ["", " \n"])
def test_nothing_is_explained_of_no_prompt(fitted: Path, capsys: pytest.CaptureFixture[str], prompt: str) -> None:
    """Outcomes of such a prompt are refused as well, so nothing is known of it."""
    with pytest.raises(SystemExit) as ended:
        main(["router", "explain", str(fitted), prompt])
    assert ended.value.code == 2
    assert "argument prompt: got " in capsys.readouterr().err


def newcomers(path: Path, shared: int) -> Path:
    """A third model that answers as the small one does, asked on the first `shared` prompts alone."""
    rows = [json.loads(line) for line in outcomes(path).read_text().splitlines()]
    for row in rows[:shared]:
        row["scores"]["new"] = row["scores"]["small"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_newcomer_is_known_by_a_few_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With 40 scores a model has an expectation like the one that it resembles; nothing is promised of it."""
    out = tmp_path / "router.safetensors"
    log = newcomers(tmp_path / "log.jsonl", 40)
    main(["router", "fit", str(log), "--default", "large", "--newcomer", "new", "--out", str(out)])
    assert "nothing promised" in capsys.readouterr().out
    main(["router", "explain", str(out), HARD.format("9th", 77), "--max-quality-loss", "0.9"])
    told = capsys.readouterr().out
    rows = [line.split() for line in told.splitlines() if line.startswith("│")]
    shares = {row[1]: float(row[3].rstrip("%")) for row in rows}
    assert abs(shares["new"] - shares["small"]) < 15
    assert shares["large"] - shares["new"] > 40
    assert "chosen: new" not in told


def test_a_newcomer_may_be_known_by_its_price(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a score its price tells which fitted model stands for it; with neither it is refused."""
    out = tmp_path / "router.safetensors"
    fit = ["router", "fit", str(newcomers(tmp_path / "log.jsonl", 0)), "--default", "large", "--newcomer", "new"]
    with pytest.raises(SystemExit):
        main([*fit, "--out", str(out)])
    assert "--newcomer new: got 0 prompts that all models answered" in capsys.readouterr().err
    assert not out.exists()
    main([*fit, "--out", str(out), "--price", "new=1/1", "--price", "small=1/2", "--price", "large=20/60"])
    assert "nothing promised" in capsys.readouterr().out


@pytest.mark.parametrize("prior", [["--prior"], []])
def test_the_shipped_prior_is_left_out_on_demand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], prior: list[str]
) -> None:
    """What the shipped prior learnt counts unless --prior is given without a file."""
    out = tmp_path / "router.safetensors"
    log = outcomes(tmp_path / "log.jsonl")
    main(["router", "fit", str(log), "--default", "large", "--out", str(out), *prior])
    assert (len(load_artefact(out).ensemble.prior.landmarks) == 0) is bool(prior)
