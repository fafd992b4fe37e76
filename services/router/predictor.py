"""What to expect of each model on a prompt: how likely it answers well, and how likely worse than the default."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.chassis.errors import FailedPrecondition, InvalidField
from services.router.artefact import Artefact
from services.router.calibration import Calibration
from services.router.features import features


@dataclass(frozen=True, slots=True)
class Vector:
    """An embedding, float32 [dimension], and the digest of the encoder that made it."""

    values: NDArray[np.float32]
    encoder_digest: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """Probabilities by model, of those that were fitted.

    Where the prompt is not familiar its losses are kept for the record, but no promise covers them.
    """

    quality: Mapping[str, float]
    loss: Mapping[str, float]
    unfamiliar: str  # why the prompt is unlike those calibrated, as the end of a sentence; empty where it is familiar


class Predictor:
    """Logistic models over a prompt's features, with the calibration that says how far to trust them."""

    def __init__(self, artefact: Artefact) -> None:
        self._facts = artefact.facts
        self._weights, self._bias = _stacked(artefact)
        calibrated = artefact.calibration_losses, artefact.calibration_harms, artefact.calibration_groups
        self.calibration = Calibration(artefact.facts.models, *calibrated)

    @property
    def models(self) -> Sequence[str]:
        """The models that were fitted."""
        return self._facts.models

    @property
    def default_model(self) -> str:
        """The model that losses are relative to."""
        return self._facts.default_model

    @property
    def dimension(self) -> int:
        """Values of an embedding."""
        return self._facts.embedding_dimension

    def check(self, vector: Vector) -> None:
        """Raises FailedPrecondition for another encoder's vector, InvalidField for one of another dimension."""
        expected = self._facts.encoder_digest
        if vector.encoder_digest != expected:
            raise FailedPrecondition(
                "embedding.encoder_digest", vector.encoder_digest, expected, reason="ENCODER_MISMATCH"
            )
        if len(vector.values) != self.dimension:
            raise InvalidField("embedding.values", f"{len(vector.values)} values", f"{self.dimension} values")

    def predict(self, text: str, embedding: NDArray[np.float32]) -> Prediction:
        """Predicts for a prompt whose embedding, float32 [d], passed `check`."""
        models = self._facts.models
        found = self._weights @ features(text, embedding) + self._bias
        chances = (1 / (1 + np.exp(-found[: 2 * len(models)]))).tolist()
        loss = dict(zip(models, chances[len(models) :], strict=True))
        loss[self._facts.default_model] = 0.0
        return Prediction(
            quality=dict(zip(models, chances[: len(models)], strict=True)),
            loss=loss,
            unfamiliar=self._unfamiliar(len(text), float(found[2 * len(models) :].max())),
        )

    def _unfamiliar(self, characters: int, similarity: float) -> str:
        most, least = self._facts.most_characters, self._facts.least_similarity
        if characters > most:
            return f"its {characters} characters are more than the {most} of any fitted one"
        if similarity < least:
            return f"its similarity to the nearest is {similarity:.2f}, below {least:.2f}"
        return ""


def _stacked(artefact: Artefact) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Quality, loss and centroids as the rows of one matrix [2 m + c, d] with one bias: one product a prompt."""
    centroids = np.zeros((len(artefact.centroids), artefact.quality_weights.shape[1]), np.float32)
    centroids[:, : artefact.centroids.shape[1]] = artefact.centroids
    weights = np.concatenate((artefact.quality_weights, artefact.loss_weights, centroids))
    bias = np.concatenate((artefact.quality_bias, artefact.loss_bias, np.zeros(len(centroids), np.float32)))
    return weights, bias
