"""A prior's file: it gives back what was fitted, and refuses what another encoder or version made."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.chassis.settings import ConfigError
from services.router.features import LEXICAL_FEATURES
from services.router.prior import Prior
from services.router.prior_file import load_prior, save_prior
from services.router.prior_fit import Source, fit_prior

DIGEST = "ab" * 32


@pytest.fixture(scope="module")
def prior() -> Prior:
    rng = np.random.default_rng(0)
    facts = rng.normal(size=(60, len(LEXICAL_FEATURES))).astype(np.float32)
    embeddings = rng.normal(size=(60, 8)).astype(np.float32)
    return fit_prior([Source(embeddings, facts, rng.integers(0, 2, (60, 3)).astype(float))], landmarks=20)


def test_gives_back_what_was_written(prior: Prior, tmp_path: Path) -> None:
    """A prior from its file has the same heads."""
    save_prior(prior, tmp_path / "prior.safetensors", DIGEST)
    found = load_prior(tmp_path / "prior.safetensors", DIGEST)
    rng = np.random.default_rng(1)
    asked = rng.normal(size=(5, 8)).astype(np.float32), rng.normal(size=(5, len(LEXICAL_FEATURES))).astype(np.float32)
    np.testing.assert_array_equal(
        found.heads(found.projected(asked[0]), asked[1]), prior.heads(prior.projected(asked[0]), asked[1])
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"offset": np.full(4, np.nan, np.float32)}, "offset: got a value that is not finite"),
        ({"spread": np.zeros(len(LEXICAL_FEATURES), np.float32)}, "spread: got a value that is not above 0"),
        ({"centre": np.zeros(3, np.float32)}, "centre: got float32 \\(3,\\)"),
        ({"coefficients": np.zeros((20, 4), np.float64)}, "coefficients: got float64"),
    ],
)
def test_refuses_broken_files(
    prior: Prior, tmp_path: Path, changes: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]], expected: str
) -> None:
    """What cannot be a prior is refused with file, tensor and expectation."""
    save_prior(replace(prior, **changes), tmp_path / "prior.safetensors", DIGEST)
    with pytest.raises(ConfigError, match=expected):
        load_prior(tmp_path / "prior.safetensors", DIGEST)


def test_refuses_another_encoders(prior: Prior, tmp_path: Path) -> None:
    """Vectors of another encoder mean nothing to it."""
    save_prior(prior, tmp_path / "prior.safetensors", DIGEST)
    with pytest.raises(ConfigError, match="encoder_digest: got"):
        load_prior(tmp_path / "prior.safetensors", "cd" * 32)


def test_refuses_what_is_no_prior(tmp_path: Path) -> None:
    """Other files are named as what they are not."""
    (tmp_path / "other").write_bytes(b"hello")
    with pytest.raises(ConfigError, match="is not a prior's safetensors file"):
        load_prior(tmp_path / "other", DIGEST)
