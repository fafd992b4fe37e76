"""Says of a fitted router which models callers who wait may have asked first, and what is missing of the others."""

from collections.abc import Iterator

from services.cli.printing import plain
from services.router.predictor import Predictor

_SIGNALS = ("mean_logprobs", "agreements")


def asked_first(predictor: Predictor) -> Iterator[str]:
    """A line for each weaker model and each signal of how sure it was of its answers."""
    weaker = [model for model in predictor.models if model != predictor.default_model]
    if not any(predictor.lacking(model) for model in weaker):
        yield f"asked first: no model can be, as the calibration has no {' and no '.join(_SIGNALS)}"
        return
    for model in weaker:
        lacking = predictor.lacking(model)
        for signal in _SIGNALS:
            why = lacking.get(signal, "the calibration has none")
            told = f"it cannot be: {why}" if why else "it can be, for whole answers, where that saves"
            yield f"asked first: {plain(model)}, by {signal}: {told}"
