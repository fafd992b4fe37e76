"""Reads the weights and configuration of a Hugging Face folder without torch, and refuses what is broken by name."""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

INDEX_FILE = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
LARGEST_HEADER_BYTES = 100_000_000
LARGEST_DIMENSION = 2**48
LARGEST_RANK = 8
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
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

    def stored(self, name: str, shape: Sequence[int]) -> tuple[StoredTensor, np.dtype[Any]]:
        """Where one tensor lies and what it is stored as, from the header alone.

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
        return stored, stored_type

    def tensor(self, name: str, shape: Sequence[int]) -> NDArray[np.float32]:
        """One tensor as float32, memory-mapped where it is stored so.

        Raises:
            InvalidCheckpoint: as `stored` says, or it holds what is not finite.
        """
        stored, stored_type = self.stored(name, shape)
        values: NDArray[Any] = stored.data.view(stored_type)
        if stored.type_name == "BF16":
            bits = values.astype(np.uint32)
            bits <<= 16
            values = bits.view(np.float32)
        numbers: NDArray[np.float32] = values.astype(np.float32, copy=False).reshape(shape)
        if not (np.isfinite(numbers.min()) and np.isfinite(numbers.max())):
            raise InvalidCheckpoint(f"{self.folder}: tensor {name} holds NaN or infinity, expected finite weights")
        return numbers

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
        return Checkpoint(folder, config, read_header(files[0]), files)
    placed = _weight_map(index)
    files = [folder / name for name in sorted(set(placed.values()))]
    headers = {path.name: read_header(path) for path in files}
    for name, file_name in placed.items():
        if name not in headers[file_name]:
            raise InvalidCheckpoint(f"{folder / file_name}: tensor {name} is in the index but not in the file")
    tensors = {name: headers[file_name][name] for name, file_name in placed.items()}
    return Checkpoint(folder, config, tensors, files)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; raises InvalidCheckpoint where it is missing or holds none."""
    value = parse_json(path)
    if not isinstance(value, dict):
        raise InvalidCheckpoint(f"{path}: holds {type(value).__name__}, expected an object")
    return value


def parse_json(path: Path) -> Any:
    """Any JSON value from a file; raises as `read_json` does."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except FileNotFoundError:
        raise InvalidCheckpoint(f"{path}: file is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidCheckpoint(f"{path}: no valid JSON: {error}") from None
    return value


def _weight_map(index: Path) -> dict[str, str]:
    """File name by tensor, of files beside the index."""
    placed = read_json(index).get("weight_map")
    if not isinstance(placed, dict) or not placed:
        raise InvalidCheckpoint(f"{index}: weight_map is {type(placed).__name__}, expected tensors with their files")
    for name, file_name in placed.items():
        if not isinstance(file_name, str) or not FILE_NAME.fullmatch(file_name):
            raise InvalidCheckpoint(
                f"{index}: tensor {name!a} lies in {file_name!a:.80}, expected a file of the folder"
            )
    return placed


def read_header(path: Path) -> dict[str, StoredTensor]:
    """The tensors of one safetensors file: a little-endian u64 length, that much JSON, then the data without gaps."""
    if not path.is_file():
        raise InvalidCheckpoint(f"{path}: file is missing")
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(size - 8, LARGEST_HEADER_BYTES):
            raise InvalidCheckpoint(f"{path}: no safetensors header: claims {length} bytes of a file of {size}")
        try:
            header = json.loads(file.read(length))
            json.dumps(header, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise InvalidCheckpoint(f"{path}: header is no valid JSON: {error}") from None
    if not isinstance(header, dict):
        raise InvalidCheckpoint(f"{path}: header holds {type(header).__name__}, expected an object")
    header.pop("__metadata__", None)
    data: NDArray[np.uint8] = np.memmap(path, np.uint8, mode="r")[8 + length :]
    spans = {name: _span(path, name, entry) for name, entry in header.items()}
    _refuse_overlaps(path, spans)
    return {name: _locate(path, name, header[name], span, data) for name, span in spans.items()}


def _span(path: Path, name: str, entry: Any) -> tuple[int, int]:
    """First byte and the one behind the last, once the whole entry is described as it should be."""
    expected = 'an object such as {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}'
    fields = entry if isinstance(entry, dict) else {}
    offsets: Any = fields.get("data_offsets")
    sized = _are_sizes(fields.get("shape")) and _are_sizes(offsets) and len(offsets) == 2
    if not sized or not isinstance(fields.get("dtype"), str):
        raise InvalidCheckpoint(f"{path}: tensor {name!a} is described by {entry!a:.120}, expected {expected}")
    return offsets[0], offsets[1]


def _are_sizes(values: Any) -> bool:
    if not isinstance(values, list) or len(values) > LARGEST_RANK:
        return False
    return all(type(value) is int and 0 <= value <= LARGEST_DIMENSION for value in values)


def _refuse_overlaps(path: Path, spans: Mapping[str, tuple[int, int]]) -> None:
    end = 0
    for name, span in sorted(spans.items(), key=lambda item: item[1]):
        if span[0] != end:
            fault = "overlaps the tensor before it" if span[0] < end else "leaves a gap"
            raise InvalidCheckpoint(f"{path}: tensor {name} begins at byte {span[0]} and {fault}, expected {end}")
        end = max(end, span[1])


def _locate(
    path: Path, name: str, entry: Mapping[str, Any], span: tuple[int, int], data: NDArray[np.uint8]
) -> StoredTensor:
    begin, end = span
    type_name, shape = entry["dtype"], tuple(entry["shape"])
    if not begin <= end <= data.size:
        raise InvalidCheckpoint(f"{path}: tensor {name} lies at bytes {begin}-{end}, but the data ends at {data.size}")
    item_type = STORED_TYPES.get(type_name)
    if item_type is not None and math.prod(shape) * item_type.itemsize != end - begin:
        raise InvalidCheckpoint(f"{path}: tensor {name} of shape {shape} does not fill its {end - begin} bytes")
    return StoredTensor(data[begin:end], type_name, shape)
