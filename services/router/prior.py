"""What other models' outcomes on other prompts tell of a prompt: how hard it is, and for which kind of model.

A prior is fitted once, on outcomes that need not name any model of the operator's, and then helps every fit that has
few outcomes of its own: its heads become features of the ensemble, and rank prompts where there is nothing else.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from services.router.kernel import Machine

EMBEDDING_SCALE, LEXICAL_SCALE = 2.0, 0.05  # of squared distances in the exponent, twice
DIRECTIONS = 96  # of the embedding that are kept: more costs time and tells nothing
LEAST_SPREAD = 1e-3
_LEAST, _MOST = np.array(-3, np.float32), np.array(3, np.float32)  # arrays, as they are here, cost half of scalars
_WIDER = np.array(0.5, np.float32)  # of distances between embeddings
_LEXICAL_FACTOR = np.array(LEXICAL_SCALE**0.5, np.float32)


@dataclass(frozen=True)
class Prior:
    """Heads over p directions of an embedding and f lexical features.

    Args:
        projection: float32 [e, p], from embeddings to the directions that are kept.
        centre: float32 [f], of the lexical features, as is `spread`.
        landmarks: float32 [b, p + f]; b may be 0, then there are no heads.
        coefficients: float32 [b, h].
        offset: float32 [h].
    """

    projection: NDArray[np.float32]
    centre: NDArray[np.float32]
    spread: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    coefficients: NDArray[np.float32]
    offset: NDArray[np.float32]

    @cached_property
    def _machine(self) -> Machine:
        return Machine(self.landmarks, self.coefficients, self.offset)

    def projected(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings [..., e] on the kernel's scale: [..., p]."""
        found: NDArray[np.float32] = embeddings.dot(self.projection)
        return found

    def heads(self, projected: NDArray[np.float32], lexical: NDArray[np.float32]) -> NDArray[np.float32]:
        """The h heads of prompts, [..., h]; the first is how well the best models of the first source do."""
        return self._machine.predict(points_of(projected, lexical, self.centre, self.spread))


def points_of(
    projected: NDArray[np.float32],
    lexical: NDArray[np.float32],
    centre: NDArray[np.float32],
    spread: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Where prompts lie for the heads: a wider kernel than the ensemble's, as these outcomes are many."""
    return np.concatenate((projected * _WIDER, scaled(lexical, centre, spread, _LEXICAL_FACTOR)), axis=-1)


def scaled(
    values: NDArray[np.float32],
    centre: NDArray[np.float32],
    spread: NDArray[np.float32],
    factor: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Values standardised, clipped at three spreads and put on the kernel's scale, whose square root is the factor."""
    found: NDArray[np.float32] = values - centre
    found /= spread
    np.maximum(found, _LEAST, out=found)
    np.minimum(found, _MOST, out=found)
    found *= factor
    return found


def standard(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Centre and spread of columns."""
    return values.mean(axis=0).astype(np.float32), (values.std(axis=0) + LEAST_SPREAD).astype(np.float32)


def without_heads(embeddings: NDArray[np.float32], lexical: NDArray[np.float32]) -> Prior:
    """A prior that knows nothing but where these prompts lie."""
    _, _, directions = np.linalg.svd(embeddings, full_matrices=False)
    projection = np.ascontiguousarray(directions[:DIRECTIONS].T * np.sqrt(EMBEDDING_SCALE), np.float32)
    empty = np.zeros((0, projection.shape[1] + lexical.shape[1]), np.float32)
    return Prior(projection, *standard(lexical), empty, np.zeros((0, 0), np.float32), np.zeros(0, np.float32))
