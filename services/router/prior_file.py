"""A prior as a file, so that fits with few outcomes need nobody else's outcomes, only what was learnt from them."""

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from services.chassis.settings import ConfigError
from services.router.features import FEATURE_VERSION, LEXICAL_FEATURES
from services.router.prior import Prior

_FORMAT, _KEY = "fulcrum-prior-1", "fulcrum-prior"
_NAMES = frozenset(one.name for one in fields(Prior))


def save_prior(prior: Prior, path: Path, encoder_digest: str) -> None:
    """Writes the prior of embeddings that the encoder of this digest makes."""
    facts = {"format": _FORMAT, "encoder_digest": encoder_digest, "feature_version": FEATURE_VERSION}
    tensors = {name: np.ascontiguousarray(getattr(prior, name)) for name in _NAMES}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(save(tensors, {_KEY: json.dumps(facts, sort_keys=True)}))


def load_prior(path: Path, encoder_digest: str) -> Prior:
    """The prior in a file, checked in every shape and value.

    Raises:
        ConfigError: names file, key and what was expected; another encoder's, or of other features.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            facts = json.loads((file.metadata() or {}).get(_KEY, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError, ValueError) as error:
        raise ConfigError(f"{path}: is not a prior's safetensors file: {error}") from error
    expected = {"format": _FORMAT, "encoder_digest": encoder_digest, "feature_version": FEATURE_VERSION}
    for key, value in expected.items():
        if facts.get(key) != value:
            raise ConfigError(f"{path}: {key}: got {facts.get(key)!r}, expected {value!r}")
    if set(tensors) != _NAMES:
        raise ConfigError(f"{path}: tensors: got {sorted(tensors)}, expected {sorted(_NAMES)}")
    _check(path, tensors)
    return Prior(**tensors)


def _check(path: Path, tensors: dict[str, NDArray[np.float32]]) -> None:
    lexical, landmarks, heads = len(LEXICAL_FEATURES), len(tensors["landmarks"]), len(tensors["offset"])
    directions = tensors["projection"].shape[-1]
    shapes = {
        "projection": (len(tensors["projection"]), directions),
        "centre": (lexical,),
        "spread": (lexical,),
        "landmarks": (landmarks, directions + lexical),
        "coefficients": (landmarks, heads),
        "offset": (heads,),
    }
    for name, shape in shapes.items():
        found = tensors[name]
        if found.dtype != np.float32 or found.shape != shape:
            raise ConfigError(f"{path}: {name}: got {found.dtype} {found.shape}, expected float32 {shape}")
        if not np.isfinite(found).all():
            raise ConfigError(f"{path}: {name}: got a value that is not finite")
    if not (tensors["spread"] > 0).all():
        raise ConfigError(f"{path}: spread: got a value that is not above 0")
