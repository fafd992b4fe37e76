"""What fitting leaves and the predictor loads: one safetensors file of weights and calibration, its facts in JSON."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from services.chassis.settings import ConfigError
from services.router.ensemble import Ensemble
from services.router.features import FEATURE_VERSION, LEXICAL_FEATURES
from services.router.prior import Prior

FORMAT = "fulcrum-router-4"
METADATA_KEY = "fulcrum-router"
MAX_BYTES = 64 * 1024 * 1024
_NAMES = frozenset(
    ["centroids", "calibration_losses", "calibration_harms", "calibration_groups"]
    + [f"prior_{one.name}" for one in fields(Prior)]
    + [one.name for one in fields(Ensemble) if one.name != "prior"]
)
_CERTAINTY = ("calibration_mean_logprobs", "calibration_agreements")
_MAY_LACK = (*_CERTAINTY, "fitted_prompts", "calibration_prompts", "calibration_least_nearness")
_MAY_BE_EMPTY = ("prior_landmarks", "prior_coefficients", "prior_offset", "domain_targets")


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
    domains: tuple[str, ...]
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Artefact:
    """A fitted predictor of m models, with n calibrated prompts and c centroids.

    The ensemble's targets are each model's score, then, for each, that it is worse than the default.
    """

    facts: Facts
    ensemble: Ensemble
    centroids: NDArray[np.float32]  # [c, embedding dimension], L2-normalised
    calibration_losses: NDArray[np.float32]  # [n, m], infinite where the prompt is unfamiliar
    calibration_harms: NDArray[np.bool_]  # [n, m]
    calibration_groups: NDArray[np.int32]  # [n], prompts that share their fate
    # [n, m], mean log-probability of the tokens of each answer, not a number where unknown; None where all are
    calibration_mean_logprobs: NDArray[np.float32] | None = None
    calibration_agreements: NDArray[np.float32] | None = None  # [n, m], share of repeats that agree with it, likewise
    calibration_prompts: NDArray[np.uint64] | None = None  # [n], digests of their texts, ascending; None where unknown
    fitted_prompts: NDArray[np.uint64] | None = None  # digests of the texts fitted on, likewise
    calibration_least_nearness: NDArray[np.float32] | None = None  # [1], that nearly all have; None where unknown

    def save(self, path: Path) -> None:
        """Writes the file, replacing one that is there."""
        tensors = {name: np.ascontiguousarray(value) for name, value in self.tensors().items()}
        known = {"format": FORMAT, "facts": asdict(self.facts), "sha256": _digest(tensors)}
        metadata = {METADATA_KEY: json.dumps(known, sort_keys=True)}  # one key: safetensors writes several in any order
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_bytes(save_tensors(tensors, metadata))
        partial.replace(path)

    @property
    def version(self) -> str:
        """Tells it from every other artefact: `fit.calibration`, each the beginning of a digest; see `same_fit`."""
        tensors = self.tensors()
        calibration = {name: value for name, value in tensors.items() if name.startswith("calibration_")}
        facts = {name: value for name, value in asdict(self.facts).items() if name != "metrics"}
        fit = _digest({name: value for name, value in tensors.items() if name not in calibration})
        named = hashlib.sha256(f"{json.dumps(facts, sort_keys=True)} {fit}".encode()).hexdigest()
        return f"{named[:8]}.{_digest(calibration)[:8]}"

    def tensors(self) -> Mapping[str, NDArray[np.generic]]:
        """Every array by the name that it has in the file."""
        own = {
            name: value for name, value in vars(self).items() if name not in ("facts", "ensemble") and value is not None
        }
        prior = {f"prior_{one.name}": getattr(self.ensemble.prior, one.name) for one in fields(Prior)}
        ensemble = {one.name: getattr(self.ensemble, one.name) for one in fields(Ensemble) if one.name != "prior"}
        return own | prior | ensemble


def same_fit(version: str, other: str) -> bool:
    """Whether artefacts of these versions predict the same, however they are calibrated."""
    return version.partition(".")[0] == other.partition(".")[0]


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
    prior = Prior(*(tensors.pop(f"prior_{one.name}") for one in fields(Prior)))
    ensemble = Ensemble(prior, *(tensors.pop(one.name) for one in fields(Ensemble) if one.name != "prior"))
    return Artefact(facts, ensemble, **tensors)


def _check(path: Path, facts: Facts, tensors: Mapping[str, NDArray[np.generic]]) -> None:
    if facts.feature_version != FEATURE_VERSION:
        raise ConfigError(
            f"{path}: feature_version: got {facts.feature_version}, expected {FEATURE_VERSION}: another release "
            "fitted it; fit it anew with `fulcrum router fit`, or set `router.predictor` to null until then"
        )
    if facts.default_model not in facts.models or len(set(facts.models)) < len(facts.models):
        raise ConfigError(f"{path}: models: got {facts.models}, expected each once, {facts.default_model} among them")
    if set(tensors).difference(_MAY_LACK) != _NAMES:
        raise ConfigError(f"{path}: tensors: got {sorted(tensors)}, expected {sorted(_NAMES)}")
    expected = _shapes(facts, tensors)
    for name in filter(tensors.__contains__, expected):
        (kind, shape), found = expected[name], tensors[name]
        fits = found.ndim == len(shape) and all(b in (None, a) for a, b in zip(found.shape, shape, strict=True))
        if found.dtype != kind or not fits or not (found.size or name in _MAY_BE_EMPTY):
            raise ConfigError(f"{path}: {name}: got {found.dtype} {found.shape}, expected {kind.__name__} {shape}")
        if name not in ("calibration_losses", *_CERTAINTY) and not np.isfinite(found).all():
            raise ConfigError(f"{path}: {name}: got a value that is not finite")
    for name in tensors:
        if (
            name.startswith("calibration_")
            and expected[name][1] != (1,)
            and len(tensors["calibration_losses"]) != len(tensors[name])
        ):
            raise ConfigError(f"{path}: {name}: expected as many rows as calibration_losses")
    for name in ("spread", "prior_spread"):
        if not np.greater(tensors[name], 0).all():
            raise ConfigError(f"{path}: {name}: got a value that is not above 0")
    if np.isnan(tensors["calibration_losses"]).any():
        raise ConfigError(f"{path}: calibration_losses: got a value that is not a number")


def _shapes(
    facts: Facts, tensors: Mapping[str, NDArray[np.generic]]
) -> Mapping[str, tuple[type, tuple[int | None, ...]]]:
    """Each tensor's type and shape; None where any size will do."""
    sizes = {name: tensors[name].shape for name in ("prior_projection", "prior_coefficients", "landmarks")}
    if any(len(shape) != 2 for shape in sizes.values()):
        return dict.fromkeys(sizes, (np.float32, (None, None)))
    targets = tensors["scores"].size  # fewer than two a model where there are newcomers
    models, domains, lexical = len(facts.models), len(facts.domains), len(LEXICAL_FEATURES)
    directions, (rows, heads), landmarks = (
        sizes["prior_projection"][1],
        sizes["prior_coefficients"],
        sizes["landmarks"][0],
    )
    return {
        "prior_projection": (np.float32, (facts.embedding_dimension, directions)),
        "prior_centre": (np.float32, (lexical,)),
        "prior_spread": (np.float32, (lexical,)),
        "prior_landmarks": (np.float32, (rows, directions + lexical)),
        "prior_coefficients": (np.float32, (rows, heads)),
        "prior_offset": (np.float32, (heads,)),
        "centre": (np.float32, (lexical + heads,)),
        "spread": (np.float32, (lexical + heads,)),
        "landmarks": (np.float32, (landmarks, directions + lexical + heads)),
        "coefficients": (np.float32, (landmarks + lexical + heads, targets + domains)),
        "offset": (np.float32, (targets + domains,)),
        "domain_targets": (np.float32, (domains, targets)),
        "scores": (np.float32, (targets,)),
        "blend": (np.float32, (3 + targets + domains, 2 * models)),
        "centroids": (np.float32, (None, facts.embedding_dimension)),
        "calibration_losses": (np.float32, (None, models)),
        "calibration_harms": (np.bool_, (None, models)),
        "calibration_groups": (np.int32, (None,)),
        **dict.fromkeys(_CERTAINTY, (np.float32, (None, models))),
        "calibration_prompts": (np.uint64, (None,)),
        "fitted_prompts": (np.uint64, (facts.fitted_prompts,)),
        "calibration_least_nearness": (np.float32, (1,)),
    }


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
