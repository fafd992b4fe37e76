"""What asking the strong model adds on a prompt, learned from few scored prompts: E[strong - weak | prompt].

Kernel ridge regression with one Gaussian kernel over the embedding and the standardised lexical features; many targets
share one solve, so a decision costs one product with the kept prompts however many models there are. The serving
predictor (`predictor.py`) does not use it yet; `python -m benchmarks.routing` measures it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_EMBEDDING_SCALE, _LEXICAL_SCALE, _RIDGE, _CLIP = 2.0, 0.05, 5.0, 3.0


@dataclass(frozen=True)
class GainPredictor:
    """n kept prompts and their dual weights for t targets, on features of d numbers."""

    kept: NDArray[np.float32]  # [n, d]
    norms: NDArray[np.float32]  # [n], squared
    duals: NDArray[np.float32]  # [n, t]
    means: NDArray[np.float32]  # [t]
    centre: NDArray[np.float32]  # of the lexical features
    spread: NDArray[np.float32]

    def predict(self, embeddings: NDArray[np.float32], lexical: NDArray[np.float32]) -> NDArray[np.float32]:
        """The t targets of b prompts, float32 [b, t], from embeddings [b, e] and lexical features [b, l]."""
        scaled = _scaled(embeddings, lexical, self.centre, self.spread)
        predicted: NDArray[np.float32] = _kernel(scaled, self.kept, self.norms) @ self.duals + self.means
        return predicted


def fit_gains(
    embeddings: NDArray[np.float32], lexical: NDArray[np.float32], targets: NDArray[np.float32]
) -> GainPredictor:
    """Fits t targets [n, t] on n prompts.

    Raises:
        ValueError: fewer than two prompts, numbers of rows that differ, or a target that is not finite.
    """
    if len(embeddings) < 2 or not len(embeddings) == len(lexical) == len(targets):
        got = (len(embeddings), len(lexical), len(targets))
        raise ValueError(f"embeddings, lexical, targets: got {got} rows, expected as many of each, at least two")
    if not np.isfinite(targets).all():
        raise ValueError("targets: got a value that is not finite, expected a number for each prompt")
    centre, spread = lexical.mean(axis=0), lexical.std(axis=0) + np.float32(1e-6)
    kept = _scaled(embeddings, lexical, centre, spread)
    norms, means = np.square(kept).sum(axis=1), targets.mean(axis=0)
    gram = _kernel(kept, kept, norms) + _RIDGE * np.eye(len(kept), dtype=np.float32)
    duals = np.linalg.solve(gram, targets - means).astype(np.float32)
    return GainPredictor(kept, norms, duals, means.astype(np.float32), centre, spread)


def _scaled(
    embeddings: NDArray[np.float32],
    lexical: NDArray[np.float32],
    centre: NDArray[np.float32],
    spread: NDArray[np.float32],
) -> NDArray[np.float32]:
    standard = np.clip((lexical - centre) / spread, -_CLIP, _CLIP)
    scaled = (embeddings * np.sqrt(_EMBEDDING_SCALE), standard * np.sqrt(_LEXICAL_SCALE))
    return np.concatenate(scaled, axis=1).astype(np.float32)


def _kernel(left: NDArray[np.float32], kept: NDArray[np.float32], norms: NDArray[np.float32]) -> NDArray[np.float32]:
    squares = np.square(left).sum(axis=1)[:, None] + norms - 2 * (left @ kept.T)
    similar: NDArray[np.float32] = np.exp(-0.5 * np.maximum(squares, 0))
    return similar
