"""Checkpoints are read exactly and refused by the name of what is wrong."""

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from services.executor.models.checkpoint import InvalidCheckpoint, open_checkpoint
from tests.unit.executor.folders import llama_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return llama_folder(tmp_path / "model")


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_reads_every_stored_type(tmp_path: Path, dtype: type) -> None:
    """fp32, fp16 and bf16 become the same float32 values that they stand for."""
    values: NDArray[Any] = np.arange(-6, 6, dtype=np.float32).reshape(3, 4).astype(dtype)
    save_file({"a": values}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")
    found = open_checkpoint(tmp_path).tensor("a", (3, 4))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, values.astype(np.float32))


def test_shards_equal_a_single_file(folder: Path, tmp_path: Path) -> None:
    """Tensors spread over files by an index are those of one file, and a shard that lacks one is named."""
    whole = open_checkpoint(folder)
    tensors = {name: whole.tensor(name, stored.shape) for name, stored in whole.tensors.items()}
    names = sorted(tensors)
    placed = {name: f"part-{index % 2}.safetensors" for index, name in enumerate(names)}
    sharded = tmp_path / "sharded"
    sharded.mkdir()
    (sharded / "config.json").write_text("{}")
    (sharded / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
    for part in set(placed.values()):
        save_file({name: tensors[name] for name in names if placed[name] == part}, sharded / part)
    found = open_checkpoint(sharded)
    for name in names:
        np.testing.assert_array_equal(found.tensor(name, tensors[name].shape), tensors[name])
    save_file({"other": np.zeros(1, np.float32)}, sharded / placed[names[0]])
    with pytest.raises(InvalidCheckpoint, match=names[0]):
        open_checkpoint(sharded)


def test_truncation_names_the_tensor(folder: Path) -> None:
    """A file that ends early is refused with the name of a tensor that is cut."""
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InvalidCheckpoint, match=r"tensor model\.[a-z_.]+ lies at bytes"):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 8, b"\xff" * 64, (20).to_bytes(8, "little") + b"not json at all....."]
)
def test_what_is_no_safetensors_is_refused(folder: Path, content: bytes) -> None:
    """Rubbish in place of weights is refused with the file's name."""
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(InvalidCheckpoint, match=r"model\.safetensors"):
        open_checkpoint(folder)


def test_missing_and_misshapen_tensors_are_named(folder: Path) -> None:
    """Asking for an absent tensor, or for another shape, names the tensor and the shapes."""
    checkpoint = open_checkpoint(folder)
    with pytest.raises(InvalidCheckpoint, match="tensor nowhere is missing"):
        checkpoint.tensor("nowhere", (1,))
    with pytest.raises(InvalidCheckpoint, match=r"model\.norm\.weight has shape \(48,\), expected \(1,\)"):
        checkpoint.tensor("model.norm.weight", (1,))


def test_missing_files_are_named(folder: Path) -> None:
    """Without weights or without configuration the folder is refused by file name."""
    (folder / "model.safetensors").unlink()
    with pytest.raises(InvalidCheckpoint, match=r"model\.safetensors: file is missing"):
        open_checkpoint(folder)
    (folder / "config.json").unlink()
    with pytest.raises(InvalidCheckpoint, match=r"config\.json: file is missing"):
        open_checkpoint(folder)


def test_digest_follows_the_content(folder: Path, tmp_path: Path) -> None:
    """Equal folders have equal digests; another configuration or other weights have another."""
    first = open_checkpoint(folder).digest()
    assert first == open_checkpoint(llama_folder(tmp_path / "same")).digest()
    assert first != open_checkpoint(llama_folder(tmp_path / "weights", seed=1)).digest()
    assert first != open_checkpoint(llama_folder(tmp_path / "config", rope_theta=5e5)).digest()
