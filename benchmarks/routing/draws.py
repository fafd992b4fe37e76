"""One draw of labels: fit and calibrate on them, evaluate on every other prompt of the file."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.routing.curve import Curve, curve
from services.router.calibration import Calibration
from services.router.gain import fit_gains

_CALIBRATED, _NEIGHBOURS = 0.4, 40  # share of the labels that only the promise uses; of the kNN baseline


@dataclass(frozen=True)
class Prompts:
    """n prompts with both models' scores [n], and `hardness` [n] as heads fitted on other files see it."""

    embeddings: NDArray[np.float32]
    lexical: NDArray[np.float32]
    strong: NDArray[np.float64]
    weak: NDArray[np.float64]
    hardness: NDArray[np.float32]

    def gains(self, fitted: NDArray[np.intp], asked: NDArray[np.intp]) -> NDArray[np.float64]:
        """Predicted gains of the prompts `asked`, learned from those `fitted`; from hardness alone where none is."""
        if not len(fitted):
            return self.hardness[asked].astype(np.float64)
        beside = np.concatenate([self.lexical, self.hardness[:, None]], axis=1)
        target = (self.strong - self.weak)[fitted, None].astype(np.float32)
        model = fit_gains(self.embeddings[fitted], beside[fitted], target)
        return model.predict(self.embeddings[asked], beside[asked])[:, 0].astype(np.float64)

    def curve(self, gains: NDArray[np.float64], asked: NDArray[np.intp]) -> Curve:
        """The measures of a ranking of the prompts `asked`."""
        return curve(gains, self.strong[asked], self.weak[asked])

    def neighbours(self, fitted: NDArray[np.intp], asked: NDArray[np.intp]) -> NDArray[np.float64]:
        """The kNN baseline: mean gain of the nearest labels."""
        near = np.argsort(-(self.embeddings[asked] @ self.embeddings[fitted].T), axis=1)[:, :_NEIGHBOURS]
        found: NDArray[np.float64] = (self.strong - self.weak)[fitted][near].mean(axis=1)
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
    harms = prompts.strong > prompts.weak
    losses = prompts.gains(fitted, held).astype(np.float32)[:, None]
    calibration = Calibration(("weak",), losses, harms[held, None])
    gains = prompts.gains(fitted, asked)
    weak = gains < calibration.threshold(("weak",), bound, None)
    tested = gains < calibration.threshold(("weak",), bound, confidence)
    by_gain = np.argsort(gains, kind="stable")
    free = int((np.cumsum(harms[asked][by_gain]) / len(asked) <= bound).sum())
    gap = prompts.strong[asked].mean() - prompts.weak[asked].mean()
    lost = np.where(weak, prompts.weak[asked], prompts.strong[asked]).mean() - prompts.weak[asked].mean()
    return {
        "strong_share": float(1 - weak.mean()),
        "strong_share_hindsight": 1 - free / len(asked),
        "quality_recovered": float(lost / gap),
        "harm": float((weak & harms[asked]).mean()),
        "draws_over_bound": float((tested & harms[asked]).mean() > bound),
    }
