"""Says which encoders' embeddings are taken: the one of the settings alone, else every one, each in its own space."""

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from services.cache.embedding import Embedding
from services.cache.vector_store import VectorStore
from services.chassis.errors import FailedPrecondition, InvalidField


class VectorSpace:
    """The encoders whose vectors are stored, and the one of the settings where `only` names it."""

    def __init__(self, store: VectorStore, only: str | None) -> None:
        self._store = store
        self._only = only
        self._newest = ""

    @property
    def digest(self) -> str:
        """The encoder of the settings, else the one whose embedding was kept last; empty before the first."""
        return self._only or self._newest or next(reversed(self._store.encoders), "")

    @property
    def encoders(self) -> Collection[str]:
        """Digests of all that have, or had since the last one came, vectors here."""
        return self._store.encoders

    def vector(self, embedding: Embedding) -> npt.NDArray[np.float32]:
        """The embedding's values, shape [dimension].

        Raises:
            InvalidField: a bad vector, or another dimension than this encoder's former ones.
            FailedPrecondition: of another encoder than the one of the settings.
        """
        vector, digest = embedding.vector, embedding.encoder_digest
        self.check("embedding.encoder_digest", digest)
        dimension = self._store.encoders.get(digest, embedding.dimension)
        if embedding.dimension != dimension:
            raise InvalidField("embedding.dimension", embedding.dimension, f"{dimension}")
        return vector

    def check(self, field: str, digest: str) -> None:
        """Raises FailedPrecondition, naming `field`, for another encoder than the one of the settings."""
        if self._only not in (None, digest):
            raise FailedPrecondition(field, digest, self._only, reason="ENCODER_MISMATCH")

    def adopt(self, embedding: Embedding) -> None:
        """Makes room for vectors of the encoder of a checked embedding."""
        digest = embedding.encoder_digest
        if digest not in self._store.encoders:
            self._store.adopt(digest, embedding.dimension)
        self._newest = digest
