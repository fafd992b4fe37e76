"""What a fitted router would decide at a command line's prices, by the policy that serves, and what answers cost."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from services.chassis.settings import ConfigError
from services.cli.router_reading import prices
from services.router.artefact import Artefact
from services.router.catalogue import Catalogue, Model
from services.router.eligibility import Eligibility
from services.router.plan import Plan
from services.router.policy import Policy
from services.router.predictor import Predictor, Vector
from services.router.prices import ListPrice
from services.router.query import Objective, Query

_BYTES_PER_TOKEN, OUTPUT_TOKENS = 4, 256  # of a prompt and of an answer, for what a call costs
_ANY_LENGTH = 1 << 40  # tokens of context


class Deciding:
    """Decides as a suite with this artefact would that has its models alone.

    Args:
        artefact: fitted.
        given: prices as MODEL=IN/OUT; without any a call of the default costs 1, others nothing.

    Raises:
        ConfigError: a price that cannot be read, or none of a fitted model.
    """

    def __init__(self, artefact: Artefact, given: Sequence[str]) -> None:
        models, self._default = artefact.facts.models, artefact.facts.default_model
        self._models, self._digest = models, artefact.facts.encoder_digest
        self.prices = prices(given, models)
        if self.prices and (missing := sorted(set(models) - set(self.prices))):
            raise ConfigError(f"--price: got none of {', '.join(missing)}, expected one for every fitted model")
        catalogue = Catalogue(self._model(name) for name in models)
        self._policy = Policy(Eligibility(catalogue, OUTPUT_TOKENS), Predictor(artefact))

    def plan(self, prompt: str, embedding: NDArray[np.float32], objective: Objective) -> Plan:
        """The decision on one prompt, with its embedding [d]."""
        return self._policy.plan(Query(prompt, objective, Vector(embedding, self._digest)))

    def costs(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """Micro-dollars of each answer [n, m]; calls of the default where no prices are given."""
        if not self.prices:
            return np.tile([float(model == self._default) for model in self._models], (len(prompts), 1))
        asked = np.array([tokens(prompt) for prompt in prompts])
        paid = [self.prices[model] for model in self._models]
        return np.stack([asked * read + OUTPUT_TOKENS * said for read, said in paid], axis=1)

    def _model(self, name: str) -> Model:
        default = name == self._default
        read, said = self.prices.get(name, (0.0, float(default)))
        return Model(name, _ANY_LENGTH, (), True, default, _BYTES_PER_TOKEN, ListPrice(read, read, read, said))


def tokens(prompt: str) -> float:
    """About how many a prompt has."""
    return len(prompt.encode("utf-8", "replace")) / _BYTES_PER_TOKEN
