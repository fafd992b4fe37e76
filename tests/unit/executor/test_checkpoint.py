"""Checkpoints are read exactly and refused by the name of what is wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from services.executor.decoder_session import DecoderSession
from services.executor.models.checkpoint import InvalidCheckpoint, open_checkpoint
from services.executor.models.onnx_linear import full_linear
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


Header = dict[str, Any]


def rewrite(folder: Path, change: Callable[[Header], None], extra: int = 0) -> None:
    """Changes the header of the folder's weights, and cuts or adds bytes behind the data."""
    path = folder / "model.safetensors"
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header: Header = json.loads(content[8 : 8 + length])
    change(header)
    written = json.dumps(header).encode()
    data = content[8 + length :] + bytes(max(extra, 0))
    path.write_bytes(len(written).to_bytes(8, "little") + written + data[: len(data) + min(extra, 0)])


NORM = "model.norm.weight"
FIRST = "model.embed_tokens.weight"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda header: header[NORM].update(dtype="I8"), f"tensor {NORM} has type I8, expected one of F32, F16, BF16"),
        (lambda header: header[NORM].update(dtype="F16"), f"tensor {NORM} of shape \\(48,\\) does not fill its 192"),
        (lambda header: header[NORM].update(dtype=32), f"tensor '{NORM}' is described by .*, expected an object"),
        (lambda header: header[NORM].update(shape=[2**60, 2**60]), f"tensor '{NORM}' is described by"),
        (lambda header: header[NORM].update(shape=[2**40]), f"tensor {NORM} of shape .* does not fill"),
        (lambda header: header[NORM].update(shape=[-48]), f"tensor '{NORM}' is described by"),
        (lambda header: header[NORM].update(shape=[48.0]), f"tensor '{NORM}' is described by"),
        (lambda header: header[NORM].update(shape=[6, 8]), f"tensor {NORM} has shape \\(6, 8\\), expected \\(48,\\)"),
        (lambda header: header[NORM].update(data_offsets=[0, 192]), "overlaps the tensor before it"),
        (lambda header: header[NORM].update(data_offsets=[192]), f"tensor '{NORM}' is described by"),
        (lambda header: header.update({NORM: []}), f"tensor '{NORM}' is described by"),
        (lambda header: header.pop(FIRST), "begins at byte 49920 and leaves a gap, expected 0"),
        (lambda header: header.pop(max(header)), f"tensor {NORM} is missing"),
    ],
)
def test_wrong_headers_name_the_tensor(folder: Path, change: Callable[[Header], None], complaint: str) -> None:
    """A tensor of another type, shape or place than it can have is refused by name before anything is run."""
    rewrite(folder, change)
    with pytest.raises(InvalidCheckpoint, match=complaint):
        DecoderSession(folder, full_linear, 1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_weights_that_are_not_finite_name_the_tensor(folder: Path, value: float, dtype: type) -> None:
    """One NaN or infinity in any stored type is refused."""
    checkpoint = open_checkpoint(folder)
    shapes = {name: stored.shape for name, stored in checkpoint.tensors.items()}
    tensors: dict[str, NDArray[Any]] = {name: checkpoint.tensor(name, shapes[name]).astype(dtype) for name in shapes}
    tensors[FIRST][17, 5] = value
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(InvalidCheckpoint, match=f"tensor {FIRST} holds NaN or infinity"):
        DecoderSession(folder, full_linear, 1)


def test_a_truncated_shard_names_the_tensor(folder: Path) -> None:
    """The shard that ends early and the first of its tensors that is cut are named."""
    shard = "model-00001-of-00001.safetensors"
    (folder / "model.safetensors").rename(folder / shard)
    names = open_header(folder / shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": dict.fromkeys(names, shard)}))
    open_checkpoint(folder)
    (folder / shard).write_bytes((folder / shard).read_bytes()[:-4])
    with pytest.raises(InvalidCheckpoint, match=rf"{shard}: tensor model\.norm\.weight lies at bytes"):
        open_checkpoint(folder)


@pytest.mark.parametrize("file_name", ["../model.safetensors", "/etc/passwd", "", ".", 5, None, "a\0b", "a/b"])
def test_an_index_names_files_of_its_folder(folder: Path, file_name: Any) -> None:
    """An index that points elsewhere is refused by the tensor that does."""
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {NORM: file_name}}))
    with pytest.raises(InvalidCheckpoint, match=f"tensor '{NORM}' lies in .*, expected a file of the folder"):
        open_checkpoint(folder)


def open_header(path: Path) -> list[str]:
    content = path.read_bytes()
    return [name for name in json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]) if name[0] != "_"]
