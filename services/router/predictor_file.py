"""The file that the router predicts by: read at the start, and again whenever it is replaced."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import structlog

from services.chassis.file_stamp import stamp
from services.chassis.settings import ConfigError
from services.router.artefact import load_artefact
from services.router.predictor import Predictor

_LOOK_EVERY_S = 0.5


class PredictorFile:
    """Remembers which file was read last; a bad one leaves what serves."""

    def __init__(self, path: Path, default_model: str) -> None:
        """`default_model` is the catalogue's: a predictor whose losses are relative to another is of no use."""
        self._path = path
        self._default_model = default_model
        self._seen = stamp([path])
        self._log = structlog.get_logger("router")

    def read(self) -> Predictor | None:
        """The predictor, warm; None where it was fitted against another default model, which is logged. Blocks.

        Raises:
            ConfigError: the file cannot be used.
        """
        self._seen = stamp([self._path])
        predictor = Predictor(load_artefact(self._path))
        if predictor.default_model != self._default_model:
            self._log.warning(
                "predictor unused: it was fitted against another default model",
                predictor=str(self._path),
                fitted_against=predictor.default_model,
                default=self._default_model,
            )
            return None
        for model in predictor.models:
            for signal, lacking in predictor.lacking(model).items():
                if lacking and model != predictor.default_model:
                    told = {"predictor": str(self._path), "model": model, "signal": signal, "lacking": lacking}
                    self._log.warning("a model is not asked first: too little is known of how sure it is", **told)
        predictor.predict("warm up", np.zeros(predictor.dimension, np.float32))
        return predictor

    async def changes(self) -> AsyncIterator[Predictor]:
        """Each further one that can be used, for ever."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            if stamp([self._path]) == self._seen:
                continue
            try:
                predictor = await asyncio.to_thread(self.read)
            except ConfigError as error:
                self._log.error("predictor not reloaded, the last good one stays", problem=str(error))
                continue
            if predictor:
                self._log.info("predictor reloaded", predictor=str(self._path), version=predictor.version)
                yield predictor
