"""Holds the cache to one encoder: the one of the settings, else the one of the first embedding that was stored."""

import numpy as np
import numpy.typing as npt
import structlog

from services.cache.embedding import Embedding, Encoder
from services.cache.vector_store import VectorStore


class VectorSpace:
    """The space that the stored vectors live in."""

    def __init__(self, store: VectorStore, digest: str | None) -> None:
        """Takes what the store knows; where the settings name another `digest`, the stored vectors are dropped."""
        self._store = store
        self._encoder = store.encoder()
        if digest is not None and (self._encoder is None or self._encoder.digest != digest):
            if self._encoder is not None:
                structlog.get_logger("cache").warning("vectors dropped", of=self._encoder.digest, now=digest)
                store.forget_all()
            self._encoder = Encoder(digest)

    @property
    def digest(self) -> str:
        """Digest of the encoder; empty until the first one is known."""
        return self._encoder.digest if self._encoder else ""

    @property
    def empty(self) -> bool:
        """Whether no vector was ever stored in it."""
        return self._encoder is None or self._encoder.dimension is None

    def vector(self, embedding: Embedding) -> npt.NDArray[np.float32]:
        """The embedding's values, shape [dimension].

        Raises:
            InvalidField: a bad vector.
            FailedPrecondition: another encoder's.
        """
        vector = embedding.vector()
        if self._encoder is not None:
            self._encoder.check(embedding)
        return vector

    def adopt(self, embedding: Embedding) -> None:
        """Makes the encoder of a checked embedding the one of this space, where that is not settled yet."""
        if self.empty:
            self._encoder = Encoder(embedding.encoder_digest, embedding.dimension)
            self._store.adopt(self._encoder)
