"""The artefact: what is written is what is read, and anything else is refused."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load, save

from services.chassis.settings import ConfigError
from services.router.artefact import FORMAT, METADATA_KEY, load_artefact
from services.router.features import LEXICAL_FEATURES
from services.router.predictor import Predictor
from tests.unit.router.parts import artefact, familiar


def rewritten(path: Path, tensors: dict[str, Any], facts: dict[str, Any], metadata: dict[str, Any]) -> None:
    """Writes the file again with other tensors or facts, and with the digest that was true before."""
    header = json.loads(path.read_bytes()[8 : 8 + int.from_bytes(path.read_bytes()[:8], "little")])["__metadata__"]
    known = json.loads(header[METADATA_KEY]) | {"facts": asdict(artefact().facts) | facts} | metadata
    path.write_bytes(save(load(path.read_bytes()) | tensors, {METADATA_KEY: json.dumps(known)}))


@pytest.mark.parametrize("certainty", [None, np.full((1000, 3), np.nan, np.float32)], ids=["unknown", "known"])
def test_round_trip(tmp_path: Path, certainty: NDArray[np.float32] | None) -> None:
    """A saved artefact loads equal in every fact and tensor, and predicts the same."""
    path = tmp_path / "deep" / "router.safetensors"
    written = replace(artefact(), calibration_mean_logprobs=certainty, calibration_agreements=certainty)
    written.save(path)
    read = load_artefact(path)
    assert read.facts == written.facts
    assert read.tensors().keys() == written.tensors().keys()
    for name, value in written.tensors().items():
        np.testing.assert_array_equal(read.tensors()[name], value)
    again = tmp_path / "again.safetensors"
    read.save(again)
    assert again.read_bytes() == path.read_bytes()
    vector = familiar().values
    assert Predictor(read).predict("text", vector) == Predictor(written).predict("text", vector)
    assert [entry.name for entry in path.parent.iterdir()] == ["router.safetensors"]


@pytest.mark.parametrize(
    ("tensors", "facts", "metadata", "expected"),
    [
        ({}, {"feature_version": 99}, {}, "feature_version: got 99"),
        ({}, {"default_model": "huge"}, {}, "huge among them"),
        ({}, {"encoder_digest": "ab12"}, {}, "facts.encoder_digest"),
        ({}, {"fitted": 1}, {}, "facts.fitted"),
        ({}, {"embedding_dimension": 5}, {}, "prior_projection: got float32"),
        ({"offset": np.zeros(6)}, {}, {}, "offset: got float64"),
        ({"offset": np.full(6, np.nan, np.float32)}, {}, {}, "offset: got a value that is not finite"),
        ({"offset": np.zeros(6, np.float32)}, {}, {}, "sha256"),
        ({"calibration_losses": np.zeros((9, 3), np.float32)}, {}, {}, "as many rows"),
        ({"spread": np.zeros(len(LEXICAL_FEATURES), np.float32)}, {}, {}, "spread: got a value that is not above 0"),
        ({"landmarks": np.zeros(3, np.float32)}, {}, {}, "landmarks: got float32"),
        ({"calibration_mean_logprobs": np.zeros((9, 3), np.float32)}, {}, {}, "as many rows"),
        (
            {"calibration_mean_logprobs": np.zeros((1000, 2), np.float32)},
            {},
            {},
            "calibration_mean_logprobs: got float32",
        ),
        (
            {"calibration_agreements": np.zeros((1000, 2), np.float32)},
            {},
            {},
            "calibration_agreements: got float32",
        ),
        ({"extra": np.zeros(3, np.float32)}, {}, {}, "tensors: got"),
        ({}, {}, {"format": "other"}, f"format: got 'other', expected '{FORMAT}'"),
        ({}, {}, {"facts": None}, "facts: Input should be"),
    ],
)
def test_anything_else_is_refused(
    tmp_path: Path, tensors: dict[str, Any], facts: dict[str, Any], metadata: dict[str, Any], expected: str
) -> None:
    """A wrong version, shape, type, value or digest is refused, naming file and key."""
    path = tmp_path / "router.safetensors"
    artefact().save(path)
    rewritten(path, tensors, facts, metadata)
    with pytest.raises(ConfigError) as caught:
        load_artefact(path)
    assert "router.safetensors" in str(caught.value)
    assert expected in str(caught.value)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    """Every truncation and a flipped bit in the tensors are refused; so is a file that is missing."""
    path = tmp_path / "router.safetensors"
    artefact(prompts=20).save(path)
    whole = path.read_bytes()
    for size in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ConfigError, match=r"is not a router.s safetensors file"):
            load_artefact(path)
    flipped = bytearray(whole)
    flipped[-3] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(ConfigError):
        load_artefact(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_artefact(tmp_path / "none.safetensors")


def test_infinite_losses_are_kept(tmp_path: Path) -> None:
    """Calibrated prompts that were unfamiliar carry an infinite loss through the file."""
    path = tmp_path / "router.safetensors"
    losses = artefact().calibration_losses.copy()
    losses[0] = np.inf
    replace(artefact(), calibration_losses=losses).save(path)
    assert np.isinf(load_artefact(path).calibration_losses[0]).all()
