"""The models of this executor by name: made from the settings, started, looked up and listed."""

import os
from collections.abc import Mapping, Sequence

import structlog

from services.chassis.errors import InvalidField, NotFound
from services.chassis.settings import ConfigError
from services.executor.engine import Engine, ModelInfo, ModelState
from services.executor.models.checkpoint import InvalidCheckpoint
from services.executor.onnx_engine import OnnxEngine
from services.executor.remote_engine import RemoteEngine
from services.executor.settings import LocalModel, RemoteModel
from services.executor.token_usage import reader_for


class ModelRegistry:
    """Engines by model name."""

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        self._engines = dict(sorted(engines.items()))
        self._log = structlog.get_logger("models")

    async def start(self) -> None:
        """Starts the engines one by one; one that cannot be loaded is logged and listed as failed, the others serve."""
        for name, engine in self._engines.items():
            try:
                await engine.start()
            except (InvalidCheckpoint, OSError) as error:
                self._log.error("model cannot be loaded", model=name, why=str(error))
            else:
                self._log.info("model is ready", model=name)

    def engine(self, name: str) -> Engine:
        """The engine of a model.

        Raises:
            NotFound: no model has that name.
        """
        found = self._engines.get(name)
        if found is None:
            raise NotFound("model", name, f"one of {', '.join(self._engines)}", reason="MODEL_UNKNOWN")
        return found

    @property
    def infos(self) -> Sequence[ModelInfo]:
        """Every model as it is now, in name order."""
        return [engine.info for engine in self._engines.values()]

    def failed(self) -> Sequence[str]:
        """Names of the models that could not be loaded."""
        return [info.name for info in self.infos if info.state is ModelState.FAILED]

    def page(self, size: int, after: str) -> tuple[Sequence[ModelInfo], bool]:
        """Up to `size` models in name order behind the name `after`, empty for the first, and whether more follow.

        Raises:
            InvalidField: no model is named `after`.
        """
        if after and after not in self._engines:
            raise InvalidField("page_token", after, "the next_page_token of a page")
        names = [name for name in self._engines if name > after]
        return [self._engines[name].info for name in names[:size]], len(names) > size

    async def close(self) -> None:
        """Closes every engine."""
        for engine in self._engines.values():
            await engine.close()


def make_registry(models: Mapping[str, LocalModel | RemoteModel]) -> ModelRegistry:
    """Engines for the models of the settings; loads nothing yet.

    Raises:
        ConfigError: a key's environment variable is named but not set, or a provider is named that is not known.
    """
    return ModelRegistry({name: _engine(name, model) for name, model in models.items()})


def _engine(name: str, model: LocalModel | RemoteModel) -> Engine:
    if isinstance(model, LocalModel):
        return OnnxEngine(name, model)
    key = os.environ.get(model.api_key_env) if model.api_key_env else None
    if model.api_key_env and not key:
        field = f"executor.models.{name}.api_key_env"
        raise ConfigError(f"{field}: {model.api_key_env} is not set in the environment, expected the provider's key")
    try:
        usage = reader_for(model.provider, model.base_url)
    except LookupError as error:
        expected = "a provider that genai-prices knows, such as openai, or nothing"
        raise ConfigError(f"executor.models.{name}.provider: got {model.provider!r}, expected {expected}") from error
    return RemoteEngine(name, model, key, usage)
