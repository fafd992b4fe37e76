"""The models of this executor by name: made from the settings, loaded, looked up, listed and unloaded."""

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from services.chassis.errors import FulcrumError, InvalidField, NotFound
from services.chassis.settings import ConfigError
from services.executor.engine import Engine, ModelInfo, ModelState
from services.executor.hosted_model import HostedModel
from services.executor.memory_budget import MemoryBudget, estimate
from services.executor.onnx_engine import OnnxEngine
from services.executor.precision_report import PrecisionReport
from services.executor.remote_engine import RemoteEngine
from services.executor.schema_court import SchemaCourt
from services.executor.settings import UNLOAD_WAIT_S, LocalModel, RemoteModel
from services.executor.token_usage import reader_for


class ModelRegistry:
    """Models by name.

    Args:
        models: loaded and not.
        later: names of those that are loaded only when asked for.
        court: what their engines share.
    """

    def __init__(self, models: Mapping[str, HostedModel], later: Iterable[str], court: SchemaCourt) -> None:
        self._models = dict(sorted(models.items()))
        self._later = frozenset(later)
        self._court = court

    async def start(self) -> None:
        """Loads the models one by one; one that cannot be is logged and listed as failed, the others serve."""
        for name, model in self._models.items():
            if name in self._later:
                await model.look()
                continue
            with contextlib.suppress(FulcrumError):
                await model.load()

    def model(self, name: str) -> HostedModel:
        """A model.

        Raises:
            NotFound: none has that name.
        """
        found = self._models.get(name)
        if found is None:
            raise NotFound("model", name, f"one of {', '.join(self._models)}", reason="MODEL_UNKNOWN")
        return found

    @property
    def infos(self) -> Sequence[ModelInfo]:
        """Every model as it is now, in name order."""
        return [model.info for model in self._models.values()]

    def failed(self) -> Sequence[str]:
        """Names of the models that could not be loaded."""
        return [info.name for info in self.infos if info.state is ModelState.FAILED]

    def page(self, size: int, after: str) -> tuple[Sequence[ModelInfo], bool]:
        """Up to `size` models in name order behind the name `after`, empty for the first, and whether more follow.

        Raises:
            InvalidField: no model is named `after`.
        """
        if after and after not in self._models:
            raise InvalidField("page_token", after, "the next_page_token of a page")
        names = [name for name in self._models if name > after]
        return [self._models[name].info for name in names[:size]], len(names) > size

    async def close(self) -> None:
        """Closes every model."""
        for model in self._models.values():
            await model.close()
        await self._court.close()


def make_registry(
    models: Mapping[str, LocalModel | RemoteModel],
    memory_bytes: int | None = None,
    report: PrecisionReport | None = None,
    unload_wait_s: float = UNLOAD_WAIT_S,
) -> ModelRegistry:
    """The models of the settings, which share so much memory and one report of precisions; loads nothing yet.

    An unload waits `unload_wait_s` for answers under way.

    Raises:
        ConfigError: a key's environment variable is named but not set, or a provider is named that is not known.
    """
    court, budget = SchemaCourt(), MemoryBudget(memory_bytes)
    later = [name for name, model in models.items() if isinstance(model, LocalModel) and not model.load_at_start]
    made = {}
    for name, model in models.items():
        size = partial(estimate, model) if isinstance(model, LocalModel) else None
        made[name] = HostedModel(
            name, _maker(name, model, court, report), size, budget, name not in later, unload_wait_s
        )
    return ModelRegistry(made, later, court)


def _maker(
    name: str, model: LocalModel | RemoteModel, court: SchemaCourt, report: PrecisionReport | None
) -> Callable[[], Engine]:
    if isinstance(model, LocalModel):
        return partial(OnnxEngine, name, model, court, report)
    key = os.environ.get(model.api_key_env) if model.api_key_env else None
    if model.api_key_env and not key:
        field = f"executor.models.{name}.api_key_env"
        raise ConfigError(f"{field}: {model.api_key_env} is not set in the environment, expected the provider's key")
    try:
        usage = reader_for(model.provider, model.base_url)
    except LookupError as error:
        expected = "a provider that genai-prices knows, such as openai, or nothing"
        raise ConfigError(f"executor.models.{name}.provider: got {model.provider!r}, expected {expected}") from error
    return partial(RemoteEngine, name, model, key, usage)
