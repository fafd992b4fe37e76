"""The gain predictor learns what is there, and refuses what it cannot learn from."""

import numpy as np
import pytest

from services.router.gain import fit_gains


def test_learns_a_gain_that_depends_on_the_prompt() -> None:
    """A target that follows the embedding is predicted on prompts not fitted; an unrelated column is not confused."""
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(400, 8)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    lexical = rng.normal(size=(400, 3)).astype(np.float32)
    targets = np.stack([embeddings[:, 0], lexical[:, 1]], axis=1)
    model = fit_gains(embeddings[:300], lexical[:300], targets[:300])
    found = model.predict(embeddings[300:], lexical[300:])
    assert found.shape == (100, 2)
    for column in range(2):
        assert np.corrcoef(found[:, column], targets[300:, column])[0, 1] > 0.8


@pytest.mark.parametrize(("rows", "targets"), [(1, 1), (4, 3)])
def test_refuses_too_few_rows_and_rows_that_differ(rows: int, targets: int) -> None:
    """The error gives the numbers of rows."""
    ones = np.ones((rows, 2), np.float32)
    with pytest.raises(ValueError, match=rf"got \({rows}, {rows}, {targets}\) rows"):
        fit_gains(ones, ones, np.ones((targets, 1), np.float32))


def test_refuses_a_target_that_is_not_finite() -> None:
    """A missing score is not taken for a number."""
    ones = np.ones((3, 2), np.float32)
    with pytest.raises(ValueError, match="targets: got a value that is not finite"):
        fit_gains(ones, ones, np.array([[1], [np.nan], [0]], np.float32))
