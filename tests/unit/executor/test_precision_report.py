"""The report on precision in deploy/ covers what settings offer, bears out the default, and tells what was measured."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from services.chassis.settings import ConfigError
from services.executor.decoder_backend import BACKENDS
from services.executor.engine import MeasuredPrecision
from services.executor.messages import model as message
from services.executor.models.checkpoint import open_checkpoint
from services.executor.models.onnx_linear import BYTES_A_WEIGHT, DECODER_LINEARS
from services.executor.onnx_engine import OnnxEngine
from services.executor.precision_report import load_precision_report
from services.executor.settings import LocalModel
from tests.unit.executor.folders import llama_folder

SHIPPED = Path("deploy/precision.json")
REPORT: dict[str, Any] = json.loads(SHIPPED.read_text())
FIELD = LocalModel.model_fields["precision"]


def test_every_precision_is_reported() -> None:
    """Settings, engine, memory and report name the same ones, for both reference models and the random shape."""
    assert set(BYTES_A_WEIGHT) == set(DECODER_LINEARS)
    assert set(get_args(FIELD.annotation)) == set(DECODER_LINEARS)
    for found in (*(one["precisions"] for one in REPORT["models"].values()), REPORT["random_half_billion"]):
        assert set(found) == set(DECODER_LINEARS)


def test_the_default_loses_nothing_that_was_measured() -> None:
    """The default precision is within a point of fp32's exact match and a thousandth of its perplexity."""
    for found in (one["precisions"] for one in REPORT["models"].values()):
        chosen, exact = found[FIELD.default], found["fp32"]
        assert exact["exact_match"] - chosen["exact_match"] <= 0.01
        assert chosen["perplexity"] <= exact["perplexity"] * 1.001


def test_the_shipped_models_are_those_that_were_measured() -> None:
    """Weights that change ask for a new report: it goes by their digest."""
    for name, found in REPORT["models"].items():
        assert open_checkpoint(Path("models") / name).digest() == found["digest"]


async def told(folder: Path, report: Path) -> list[MeasuredPrecision]:
    """What is said of a model in this folder, once it is ready."""
    engine = OnnxEngine("tiny", LocalModel(folder=folder), report=load_precision_report(report))
    assert not engine.info.measured
    await engine.start()
    found = list(engine.info.measured)
    assert [one.precision for one in message(engine.info).measured_precisions] == [one.precision for one in found]
    await engine.close()
    return found


async def test_a_model_is_told_its_own_quality(tmp_path: Path) -> None:
    """Weights of a digest in the report come with exact match and perplexity; others with the random shape's alone."""
    folder, report = llama_folder(tmp_path), tmp_path / "report.json"
    strange = {one.precision: one for one in await told(folder, SHIPPED)}
    assert strange["int4"] == MeasuredPrecision("int4", random_logit_error=0.5415)
    own = {"digest": open_checkpoint(folder).digest(), "precisions": {"int4": {"exact_match": 0.5, "perplexity": 2.0}}}
    report.write_text(json.dumps(REPORT | {"models": {"renamed": own}}))
    known = {one.precision: one for one in await told(folder, report)}
    assert known["int4"] == MeasuredPrecision("int4", 0.5, 2.0, 1000, 0.5415)
    assert known["int8"] == MeasuredPrecision("int8", random_logit_error=0.0498)
    unset = message(OnnxEngine("tiny", LocalModel(folder=folder)).info)
    assert not unset.measured_precisions


async def test_what_a_gpu_runs_was_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """int8 on a GPU is another int8: nothing is said of it."""
    cpu = BACKENDS["cpu"]
    monkeypatch.setitem(BACKENDS, "tensorrt", lambda model: cpu(model)._replace(backend="tensorrt"))
    assert await told(llama_folder(tmp_path), SHIPPED) == []


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda report: report.pop("settings"), "settings: got "),
        (lambda report: report["models"]["fulcrum-small"].update(digest="x"), "fulcrum-small.digest: got 'x'"),
        (lambda report: report["random_half_billion"]["int8"].update(logit_error=-1), "int8.logit_error: got '-1'"),
        (
            lambda report: report["models"]["fulcrum-large"]["precisions"]["int8"].update(exact_match=90.5),
            "int8.exact_match: got '90.5', expected: Input should be less than or equal to 1",
        ),
    ],
)
def test_a_wrong_report_is_refused(tmp_path: Path, spoil: Callable[[Any], object], why: str) -> None:
    """The file, the key, its value and what was expected are named."""
    report = json.loads(SHIPPED.read_text())
    spoil(report)
    (tmp_path / "report.json").write_text(json.dumps(report))
    with pytest.raises(ConfigError) as caught:
        load_precision_report(tmp_path / "report.json")
    assert str(caught.value).startswith(f"{tmp_path}/report.json: ")
    assert why in str(caught.value)
