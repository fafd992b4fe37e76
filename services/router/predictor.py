"""What to expect of each model on a prompt: how likely it answers well, and how likely worse than the default."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.chassis.errors import FailedPrecondition, InvalidField
from services.router.artefact import Artefact
from services.router.calibration import Calibration
from services.router.cascade import Cascade, lack
from services.router.ensemble import NEAREST, nearness
from services.router.features import lexical
from services.router.risk import REPEATS

# Where estimates bend, so that they keep their order and stay above 0.
_LEAST_CHANCE, _MOST_CHANCE = np.array(0.01, np.float32), np.array(0.99, np.float32)
_BEND = np.array(-0.01, np.float32)


@dataclass(frozen=True, slots=True)
class Vector:
    """An embedding, float32 [dimension], and the digest of the encoder that made it."""

    values: NDArray[np.float32]
    encoder_digest: str


class Prediction(NamedTuple):
    """Probabilities by model, of those that were fitted.

    Where the prompt is not familiar its losses are kept for the record, but no promise covers them.
    """

    quality: Mapping[str, float]
    loss: Mapping[str, float]
    unfamiliar: str  # why the prompt is unlike those calibrated, as the end of a sentence; empty where it is familiar


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the fitted prompts near one tell of it beside a prediction; it decides nothing."""

    uncertainty: float  # standard error of a probability of one half, given the fitted prompts nearby
    domain: str  # the likeliest of those fitted; empty where none is


class Predictor:
    """A fitted ensemble, with the calibration that says how far to trust it."""

    def __init__(self, artefact: Artefact) -> None:
        self.version = artefact.version
        self._facts = artefact.facts
        self._ensemble, self._centroids = artefact.ensemble, artefact.centroids
        self._weight = artefact.facts.fitted_prompts / len(artefact.ensemble.landmarks)
        self.calibration = Calibration(
            artefact.facts.models,
            artefact.calibration_losses,
            artefact.calibration_harms,
            artefact.calibration_groups,
        )
        self._artefact = artefact
        least = artefact.calibration_least_nearness
        self._least_nearness = -math.inf if least is None else float(least[0])
        self._least_similarity = np.array(math.exp(min(self._least_nearness, 0.0)), np.float32)

    def cascades(self, model: str, cost_ratio: float) -> Sequence[Cascade]:
        """Asking this model before the default, at a share of its cost, by each signal that enough is known of."""
        if model not in self.models:
            return ()
        known, lacking = self._artefact, self.lacking(model)
        rows = known.calibration_losses, known.calibration_harms, known.calibration_groups
        return [
            Cascade(model, self.models, *rows, certainty, cost_ratio, repeats)
            for name, repeats, certainty in self._signals(model)
            if not lacking[name]
        ]

    def lacking(self, model: str) -> Mapping[str, str]:
        """Why this model cannot be asked first, by each signal that is known of it; empty where it can."""
        known, column = self._artefact, list(self.models).index(model)
        rows = known.calibration_losses[:, column], known.calibration_harms[:, column], known.calibration_groups
        return {name: lack(*rows, certainty) for name, _, certainty in self._signals(model)}

    def _signals(self, model: str) -> Iterator[tuple[str, int, NDArray[np.float64]]]:
        """Each signal that is known of some of its answers: the name in outcomes, repeats, how sure it was [n]."""
        known, column = self._artefact, list(self.models).index(model)
        signals = (
            ("mean_logprobs", 0, known.calibration_mean_logprobs),
            ("agreements", REPEATS, known.calibration_agreements),
        )
        for name, repeats, certainty in signals:
            if certainty is not None and np.isfinite(certainty[:, column]).any():
                yield name, repeats, certainty[:, column].astype(np.float64)

    @property
    def models(self) -> Sequence[str]:
        """The models that were fitted."""
        return self._facts.models

    @cached_property
    def calibrated(self) -> Sequence[str]:
        """Those of them whose loss is calibrated."""
        return [one for one in self.models if one in self.calibration.calibrated]

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
        expected, _, similar = self._ensemble.predict_with_landmarks(embedding, lexical(text))
        found = probabilities(expected).tolist()
        loss = dict(zip(models, found[len(models) :], strict=True))
        loss[self._facts.default_model] = 0.0
        return Prediction(
            quality=dict(zip(models, found[: len(models)], strict=True)),
            loss=loss,
            unfamiliar=self._unfamiliar(len(text), float(np.maximum.reduce(self._centroids.dot(embedding))), similar),
        )

    def evidence(self, text: str, embedding: NDArray[np.float32]) -> Evidence:
        """Of a prompt whose embedding, float32 [d], passed `check`."""
        domains = self._facts.domains
        _, chances, similar = self._ensemble.predict_with_landmarks(embedding, lexical(text))
        return Evidence(
            uncertainty=0.5 / math.sqrt(1 + self._weight * float(np.add.reduce(similar))),
            domain=domains[int(chances.argmax())] if domains else "",
        )

    def _unfamiliar(self, characters: int, similarity: float, to_landmarks: NDArray[np.float32]) -> str:
        most, least = self._facts.most_characters, self._facts.least_similarity
        if characters > most:
            return f"its {characters} characters are more than the {most} of any fitted one"
        if similarity < least:
            return f"its similarity to the nearest is {similarity:.2f}, below {least:.2f}"
        if np.count_nonzero(to_landmarks > self._least_similarity) >= NEAREST:  # so is their mean: faster to tell
            return ""
        if (near := float(nearness(to_landmarks))) < self._least_nearness:
            return f"its nearness to fitted ones is {near:.1f}, below {self._least_nearness:.1f} of those calibrated"
        return ""


def probabilities(expected: NDArray[np.float32]) -> NDArray[np.float32]:
    """Estimates of any size as probabilities, their order kept: those near 0 and 1 bend instead of being cut."""
    middle = np.minimum(np.maximum(expected, _LEAST_CHANCE), _MOST_CHANCE)
    beyond = expected - middle
    bent = np.expm1(np.abs(beyond) / _BEND)
    bent *= _LEAST_CHANCE
    middle += np.copysign(bent, beyond, out=bent)
    return middle
