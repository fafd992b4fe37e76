"""Reads the weights and configuration of a Hugging Face folder without torch, and refuses what is broken by name."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

INDEX_FILE = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
LARGEST_HEADER_BYTES = 100_000_000
STORED_TYPES: Mapping[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}


class InvalidCheckpoint(ValueError):
    """A model folder that cannot be used; the message names the file, the key or the tensor."""


@dataclass(frozen=True)
class StoredTensor:
    """Where one tensor lies in a memory-mapped file."""

    data: NDArray[np.uint8]
    type_name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Checkpoint:
    """`config.json` and the tensors of one folder; tensors are read from disk when asked for."""

    folder: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]
    weight_files: Sequence[Path]

    def tensor(self, name: str, shape: Sequence[int]) -> NDArray[np.float32]:
        """One tensor as float32, memory-mapped where it is stored so.

        Raises:
            InvalidCheckpoint: it is absent, shaped otherwise, or of a type other than fp32, fp16 and bf16.
        """
        stored = self.tensors.get(name)
        if stored is None:
            raise InvalidCheckpoint(f"{self.folder}: tensor {name} is missing")
        if stored.shape != tuple(shape):
            raise InvalidCheckpoint(f"{self.folder}: tensor {name} has shape {stored.shape}, expected {tuple(shape)}")
        stored_type = STORED_TYPES.get(stored.type_name)
        if stored_type is None:
            raise InvalidCheckpoint(
                f"{self.folder}: tensor {name} has type {stored.type_name}, expected one of {', '.join(STORED_TYPES)}"
            )
        values: NDArray[Any] = stored.data.view(stored_type)
        if stored.type_name == "BF16":
            values = (values.astype(np.uint32) << 16).view(np.float32)
        return values.astype(np.float32, copy=False).reshape(shape)

    def digest(self) -> str:
        """SHA-256 in hex over `config.json` and the weight files in name order; reads every byte."""
        return digest_of(self.folder / "config.json", *self.weight_files)


def digest_of(*files: Path) -> str:
    """SHA-256 in hex over the files' own SHA-256 digests, in the order given."""
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def open_checkpoint(folder: Path) -> Checkpoint:
    """Opens a folder of `config.json` and safetensors, single or sharded by an index.

    Raises:
        InvalidCheckpoint: a file is missing, is no safetensors file, or ends before a tensor does.
    """
    config = read_json(folder / "config.json")
    index = folder / INDEX_FILE
    if not index.exists():
        files = [folder / SINGLE_FILE]
        return Checkpoint(folder, config, _read_header(files[0]), files)
    placed = read_json(index).get("weight_map", {})
    files = [folder / name for name in sorted(set(placed.values()))]
    tensors = {name: tensor for path in files for name, tensor in _read_header(path).items()}
    for name, file_name in placed.items():
        if name not in tensors:
            raise InvalidCheckpoint(f"{folder / file_name}: tensor {name} is in the index but not in the file")
    return Checkpoint(folder, config, tensors, files)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        InvalidCheckpoint: the file is missing or holds no JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidCheckpoint(f"{path}: file is missing") from None
    except ValueError as error:
        raise InvalidCheckpoint(f"{path}: no valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidCheckpoint(f"{path}: holds {type(value).__name__}, expected an object")
    return value


def _read_header(path: Path) -> dict[str, StoredTensor]:
    """The tensors of one safetensors file: a little-endian u64 length, that much JSON, then the data."""
    if not path.exists():
        raise InvalidCheckpoint(f"{path}: file is missing")
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(size - 8, LARGEST_HEADER_BYTES):
            raise InvalidCheckpoint(f"{path}: no safetensors header: claims {length} bytes of a file of {size}")
        try:
            header = json.loads(file.read(length))
        except ValueError as error:
            raise InvalidCheckpoint(f"{path}: header is no valid JSON: {error}") from None
    header.pop("__metadata__", None)
    data: NDArray[np.uint8] = np.memmap(path, np.uint8, mode="r")[8 + length :]
    return {name: _locate(path, name, entry, data) for name, entry in header.items()}


def _locate(path: Path, name: str, entry: Mapping[str, Any], data: NDArray[np.uint8]) -> StoredTensor:
    try:
        begin, end = entry["data_offsets"]
        type_name, shape = str(entry["dtype"]), tuple(int(size) for size in entry["shape"])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidCheckpoint(f"{path}: tensor {name} is described wrongly: {error!r}") from None
    if not 0 <= begin <= end <= data.size:
        raise InvalidCheckpoint(f"{path}: tensor {name} lies at bytes {begin}-{end}, but the data ends at {data.size}")
    item_type = STORED_TYPES.get(type_name)
    if item_type is not None and math.prod(shape) * item_type.itemsize != end - begin:
        raise InvalidCheckpoint(f"{path}: tensor {name} of shape {shape} does not fill its {end - begin} bytes")
    return StoredTensor(data[begin:end], type_name, shape)
