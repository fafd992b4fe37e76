"""What fitting leaves and the predictor loads: one safetensors file of weights and calibration, its facts in JSON."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from services.chassis.settings import ConfigError
from services.router.features import FEATURE_VERSION, LEXICAL_FEATURES

FORMAT = "fulcrum-router-1"
METADATA_KEY = "fulcrum-router"
MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Facts:
    """What the tensors cannot say themselves; `metrics` are on the calibration prompts."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    models: tuple[str, ...]
    default_model: str
    encoder_digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    embedding_dimension: Annotated[int, Field(ge=1)]
    feature_version: int
    least_similarity: Annotated[float, Field(allow_inf_nan=False)]
    most_characters: Annotated[int, Field(ge=1)]
    fitted_prompts: Annotated[int, Field(ge=1)]
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Artefact:
    """A fitted predictor of m models on d features, with n calibrated prompts and c centroids."""

    facts: Facts
    quality_weights: NDArray[np.float32]  # [m, d], logits of answering well
    quality_bias: NDArray[np.float32]  # [m]
    loss_weights: NDArray[np.float32]  # [m, d], logits of being wrong where the default is right
    loss_bias: NDArray[np.float32]  # [m]
    centroids: NDArray[np.float32]  # [c, embedding dimension], L2-normalised
    calibration_losses: NDArray[np.float32]  # [n, m], infinite where the prompt is unfamiliar
    calibration_harms: NDArray[np.bool_]  # [n, m]
    calibration_groups: NDArray[np.int32]  # [n], equal where prompts ask the same and so share their fate

    def save(self, path: Path) -> None:
        """Writes the file, replacing one that is there."""
        tensors = {name: np.ascontiguousarray(value) for name, value in vars(self).items() if name != "facts"}
        known = {"format": FORMAT, "facts": asdict(self.facts), "sha256": _digest(tensors)}
        metadata = {METADATA_KEY: json.dumps(known, sort_keys=True)}  # one key: safetensors writes several in any order
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_bytes(save_tensors(tensors, metadata))
        partial.replace(path)


def load_artefact(path: Path) -> Artefact:
    """The artefact in a file, checked in every shape, value and digest.

    Raises:
        ConfigError: names file, key and what was expected.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path}: got more than {MAX_BYTES} bytes, expected a router's artefact")
        data = path.read_bytes()
        tensors = load_tensors(data)
        metadata = _metadata(data)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (SafetensorError, ValueError, KeyError) as error:
        raise ConfigError(f"{path}: is not a router's safetensors file: {error}") from error
    if metadata.get("format") != FORMAT:
        raise ConfigError(f"{path}: format: got {metadata.get('format')!r}, expected {FORMAT!r}")
    try:
        facts = TypeAdapter(Facts).validate_python(metadata.get("facts"))
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(["facts", *(str(part) for part in problem["loc"])])
        raise ConfigError(f"{path}: {key}: {problem['msg']}") from error
    _check(path, facts, tensors)
    if metadata.get("sha256") != _digest(tensors):
        raise ConfigError(f"{path}: sha256: the tensors differ from those that were written")
    return Artefact(facts=facts, **tensors)


def _check(path: Path, facts: Facts, tensors: Mapping[str, NDArray[np.generic]]) -> None:
    if facts.feature_version != FEATURE_VERSION:
        raise ConfigError(f"{path}: feature_version: got {facts.feature_version}, expected {FEATURE_VERSION}")
    if facts.default_model not in facts.models or len(set(facts.models)) < len(facts.models):
        raise ConfigError(f"{path}: models: got {facts.models}, expected each once, {facts.default_model} among them")
    m, d = len(facts.models), facts.embedding_dimension + len(LEXICAL_FEATURES)
    expected: dict[str, tuple[type, tuple[int | None, ...]]] = {
        "quality_weights": (np.float32, (m, d)),
        "quality_bias": (np.float32, (m,)),
        "loss_weights": (np.float32, (m, d)),
        "loss_bias": (np.float32, (m,)),
        "centroids": (np.float32, (None, facts.embedding_dimension)),
        "calibration_losses": (np.float32, (None, m)),
        "calibration_harms": (np.bool_, (None, m)),
        "calibration_groups": (np.int32, (None,)),
    }
    if set(tensors) != set(expected):
        raise ConfigError(f"{path}: tensors: got {sorted(tensors)}, expected {sorted(expected)}")
    for name, (kind, shape) in expected.items():
        found = tensors[name]
        fits = found.ndim == len(shape) and all(b in (None, a) for a, b in zip(found.shape, shape, strict=True))
        if found.dtype != kind or not fits or not found.size:
            raise ConfigError(f"{path}: {name}: got {found.dtype} {found.shape}, expected {kind.__name__} {shape}")
        if name != "calibration_losses" and not np.isfinite(found).all():
            raise ConfigError(f"{path}: {name}: got a value that is not finite")
    for name in ("calibration_harms", "calibration_groups"):
        if len(tensors["calibration_losses"]) != len(tensors[name]):
            raise ConfigError(f"{path}: {name}: expected as many rows as calibration_losses")
    if np.isnan(tensors["calibration_losses"]).any():
        raise ConfigError(f"{path}: calibration_losses: got a value that is not a number")


def _metadata(data: bytes) -> Mapping[str, Any]:
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    found = json.loads(header["__metadata__"][METADATA_KEY])
    if not isinstance(found, dict):
        raise ValueError(f"{METADATA_KEY}: got {type(found).__name__}, expected an object")
    return found


def _digest(tensors: Mapping[str, NDArray[np.generic]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].tobytes())
    return digest.hexdigest()
