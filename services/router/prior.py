"""What other models' outcomes on other prompts tell of a prompt: how hard it is, and for which kind of model.

A prior is fitted once, on outcomes that need not name any model of the operator's, and then helps every fit that has
few outcomes of its own: its heads become features of the ensemble, and rank prompts where there is nothing else.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.router.kernel import Machine

EMBEDDING_SCALE, LEXICAL_SCALE = 2.0, 0.05  # of squared distances in the exponent, twice
DIRECTIONS = 64  # of the embedding that are kept: more costs time and tells nothing
LEAST_SPREAD = 1e-3
_SPREADS = 3  # beyond which nothing counts
_WIDER = np.array(0.5, np.float32)  # of distances between embeddings; an array costs half of a scalar here


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

    @cached_property
    def _scale(self) -> "Scale":
        return scale_of(self.centre, self.spread, np.full(len(self.centre), LEXICAL_SCALE**0.5, np.float32))

    def projected(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings [..., e] on the kernel's scale: [..., p]."""
        found: NDArray[np.float32] = embeddings.dot(self.projection)
        return found

    def heads(self, projected: NDArray[np.float32], lexical: NDArray[np.float32]) -> NDArray[np.float32]:
        """The h heads of prompts, [..., h]; the first is how well the best models of the first source do."""
        return self._machine.predict(self.points(projected, lexical))

    def points(self, projected: NDArray[np.float32], lexical: NDArray[np.float32]) -> NDArray[np.float32]:
        """Where prompts lie for the heads: a wider kernel than the ensemble's, as these outcomes are many."""
        return np.concatenate((projected * _WIDER, self._scale.of(lexical)), axis=-1)


class Scale(NamedTuple):
    """How values [..., n] come onto a kernel's scale: standardised, cut at three spreads, times a factor; [n] each."""

    slope: NDArray[np.float32]
    shift: NDArray[np.float32]
    least: NDArray[np.float32]
    most: NDArray[np.float32]

    def of(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """The values on that scale."""
        found: NDArray[np.float32] = values * self.slope
        found += self.shift
        np.maximum(found, self.least, out=found)
        np.minimum(found, self.most, out=found)
        return found


def scale_of(centre: NDArray[np.float32], spread: NDArray[np.float32], factor: NDArray[np.float32]) -> Scale:
    """Of values that lie about a centre, so far apart; the factor is the root of what squared distances count."""
    slope, most = factor / spread, _SPREADS * factor
    return Scale(slope, -centre * slope, -most, most)


def standard(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Centre and spread of columns."""
    return values.mean(axis=0).astype(np.float32), (values.std(axis=0) + LEAST_SPREAD).astype(np.float32)


def without_heads(embeddings: NDArray[np.float32], lexical: NDArray[np.float32]) -> Prior:
    """A prior that knows nothing but where these prompts lie."""
    _, _, directions = np.linalg.svd(embeddings, full_matrices=False)
    projection = np.ascontiguousarray(directions[:DIRECTIONS].T * np.sqrt(EMBEDDING_SCALE), np.float32)
    empty = np.zeros((0, projection.shape[1] + lexical.shape[1]), np.float32)
    return Prior(projection, *standard(lexical), empty, np.zeros((0, 0), np.float32), np.zeros(0, np.float32))
