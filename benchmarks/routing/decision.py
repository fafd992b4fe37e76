"""What one whole decision among twenty models costs: prices, limits, prediction, ranking and the explanation."""

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.routing.draws import Prompts
from services.router.catalogue import Catalogue, Model
from services.router.eligibility import Eligibility
from services.router.fit import Outcomes, Recipe, fit_artefact
from services.router.policy import Policy
from services.router.predictor import Predictor, Vector
from services.router.prices import ListPrice
from services.router.query import Objective, Query

_MODELS, _TIMED, _ROUNDS, _ANSWER_TOKENS = 20, 500, 5, 256
_DIGEST = "00" * 32  # of the encoder: all vectors here are of one


def cpu_us(prompts: Prompts, texts: Sequence[str], labelled: NDArray[np.intp], bound: float) -> dict[str, float]:
    """Microseconds of CPU, embedding given: of the whole decision, and of what is predicted in it; the best round.

    Half of the twenty models score as the strong one, half as the weak one. `texts` are all prompts'.
    """
    names = [f"model-{place:02}" for place in range(_MODELS)]
    both = prompts.strong[labelled], prompts.weak[labelled]
    outcomes = Outcomes(
        [texts[row] for row in labelled],
        prompts.embeddings[labelled],
        {name: both[place % 2] for place, name in enumerate(names)},
        [str(row) for row in labelled],
        [prompts.domains[row] for row in labelled],
    )
    predictor = Predictor(fit_artefact(outcomes, names[0], _DIGEST, Recipe(), prompts.prior))
    dollars = [0.1 * (_MODELS - place) for place in range(_MODELS)]
    prices = [ListPrice(each, each, each, 4 * each) for each in dollars]
    models = [
        Model(name, 1 << 20, (), True, name == names[0], 4.0, price) for name, price in zip(names, prices, strict=True)
    ]
    policy = Policy(Eligibility(Catalogue(models), _ANSWER_TOKENS), predictor)
    objective = Objective(bound)
    queries = [
        Query(text, objective, Vector(prompts.embeddings[row], _DIGEST)) for row, text in enumerate(texts[:_TIMED])
    ]
    whole, predicting = np.inf, np.inf
    for _ in range(_ROUNDS):
        begun = time.process_time()
        for query in queries:
            policy.plan(query)
        between = time.process_time()
        for row, text in enumerate(texts[:_TIMED]):
            predictor.predict(text, prompts.embeddings[row])
        whole = min(whole, between - begun)
        predicting = min(predicting, time.process_time() - between)
    return {
        "cpu_us": round(whole / len(queries) * 1e6, 1),
        "predicting_us": round(predicting / len(queries) * 1e6, 1),
    }
