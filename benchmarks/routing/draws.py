"""One draw of labels: fit and calibrate on them, evaluate on every other prompt of the file."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.routing.curve import Curve, curve
from services.router.calibration import Calibration
from services.router.ensemble import fit_ensemble
from services.router.features import LEXICAL_FEATURES
from services.router.fit import targets
from services.router.harm import harms
from services.router.predictor import probabilities
from services.router.prior import Prior, without_heads

_CALIBRATED, _NEIGHBOURS = 0.4, 40  # share of the labels that only the promise uses; of the kNN baseline
_STRONG, _WEAK, _LOSS = 0, 1, 3  # columns of the ensemble's targets


@dataclass(frozen=True)
class Prompts:
    """n prompts with both models' scores [n], and the prior of what other files tell; None where there is none."""

    embeddings: NDArray[np.float32]
    lexical: NDArray[np.float32]
    domains: Sequence[str]
    strong: NDArray[np.float64]
    weak: NDArray[np.float64]
    prior: Prior | None

    def expected(self, fitted: NDArray[np.intp], asked: NDArray[np.intp]) -> NDArray[np.float32]:
        """The targets of the prompts `asked` as the serving ensemble expects them, learned from those `fitted`."""
        wanted = targets({"strong": self.strong[fitted], "weak": self.weak[fitted]}, "strong")
        near = self.embeddings[fitted], self.lexical[fitted]
        prior = self.prior or without_heads(*near)
        ensemble, _ = fit_ensemble(prior, *near, wanted, [self.domains[row] for row in fitted], scores=2)
        return ensemble.predict(self.embeddings[asked], self.lexical[asked])

    def gains(self, fitted: NDArray[np.intp], asked: NDArray[np.intp]) -> NDArray[np.float64]:
        """What the strong model is expected to add."""
        found = self.expected(fitted, asked)
        return (found[:, _STRONG] - found[:, _WEAK]).astype(np.float64)

    def unlabelled(self, asked: NDArray[np.intp]) -> NDArray[np.float64]:
        """A ranking by what other files tell alone: hard for the best models there, many words, few of them numbers."""
        words, digits = (self.lexical[asked, LEXICAL_FEATURES.index(name)] for name in ("log_words", "digits"))
        wordy = 2 * standardised(words) - standardised(digits) / 2
        if self.prior is None:
            return wordy
        heads = self.prior.heads(self.prior.projected(self.embeddings[asked]), self.lexical[asked])
        return wordy - standardised(heads[:, 0])

    def curve(self, gains: NDArray[np.float64], asked: NDArray[np.intp]) -> Curve:
        """The measures of a ranking of the prompts `asked`."""
        return curve(gains, self.strong[asked], self.weak[asked])

    def neighbours(self, fitted: NDArray[np.intp], asked: NDArray[np.intp]) -> NDArray[np.float64]:
        """The kNN baseline: mean gain of the nearest labels."""
        near = np.argsort(-(self.embeddings[asked] @ self.embeddings[fitted].T), axis=1)[:, :_NEIGHBOURS]
        found: NDArray[np.float64] = (self.strong - self.weak)[fitted][near].mean(axis=1)
        return found


def standardised(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Values less their mean, over their spread."""
    found: NDArray[np.float64] = (values - values.mean()) / (values.std() + 1e-9)
    return found


def ranking(found: Curve, strong_mean: float) -> dict[str, float]:
    """RouteLLM's measures, and the percent of strong calls saved at shares of the strong model's quality."""
    calls = len(found.quality) - 1
    saved = {f"saving_{p}": 100 * (1 - found.calls_for(p / 100 * strong_mean) / calls) for p in (95, 99, 100)}
    return {"apgr": found.apgr, "cpt50": found.cpt(0.5), "cpt80": found.cpt(0.8), **saved}


def promise(
    prompts: Prompts, labelled: NDArray[np.intp], asked: NDArray[np.intp], bound: float, confidence: float
) -> dict[str, float]:
    """Harm and strong share under conformal risk control; whether learn-then-test's threshold broke the bound."""
    kept = max(1, int(len(labelled) * _CALIBRATED))
    fitted, held = labelled[kept:], labelled[:kept]
    harmed = harms(prompts.weak, prompts.strong)
    losses = probabilities(prompts.expected(fitted, np.concatenate((held, asked)))[:, _LOSS])
    calibration = Calibration(("weak",), losses[:kept, None], harmed[held, None])
    predicted = losses[kept:]
    weak = predicted < calibration.threshold(("weak",), bound, None)
    tested = predicted < calibration.threshold(("weak",), bound, confidence)
    by_loss = np.argsort(predicted, kind="stable")
    free = int((np.cumsum(harmed[asked][by_loss]) / len(asked) <= bound).sum())
    gap = prompts.strong[asked].mean() - prompts.weak[asked].mean()
    lost = np.where(weak, prompts.weak[asked], prompts.strong[asked]).mean() - prompts.weak[asked].mean()
    return {
        "strong_share": float(1 - weak.mean()),
        "strong_share_hindsight": 1 - free / len(asked),
        "quality_recovered": float(lost / gap),
        "harm": float((weak & harmed[asked]).mean()),
        "draws_over_bound": float((tested & harmed[asked]).mean() > bound),
    }
