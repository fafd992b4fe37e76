"""The report on precision in deploy/ covers what settings offer, and bears out the default."""

import json
from pathlib import Path
from typing import Any, get_args

from services.executor.models.onnx_linear import BYTES_A_WEIGHT, DECODER_LINEARS
from services.executor.settings import LocalModel

REPORT: dict[str, Any] = json.loads(Path("deploy/precision.json").read_text())
FIELD = LocalModel.model_fields["precision"]


def test_every_precision_is_reported() -> None:
    """Settings, engine, memory and report name the same ones, for both reference models and the random shape."""
    assert set(BYTES_A_WEIGHT) == set(DECODER_LINEARS)
    assert set(get_args(FIELD.annotation)) == set(DECODER_LINEARS)
    for found in (*REPORT["models"].values(), REPORT["random_half_billion"]):
        assert set(found) == set(DECODER_LINEARS)


def test_the_default_loses_nothing_that_was_measured() -> None:
    """The default precision is within a point of fp32's exact match and a thousandth of its perplexity."""
    for found in REPORT["models"].values():
        chosen, exact = found[FIELD.default], found["fp32"]
        assert exact["exact_match"] - chosen["exact_match"] <= 0.01
        assert chosen["perplexity"] <= exact["perplexity"] * 1.001
