"""The models that may answer, read from a YAML file that says of a mistake which file, model and key it is in."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.chassis.settings import ConfigError
from services.router.price_sources import PriceSource, explained, load_overrides, named_price, resolved
from services.router.prices import Price
from services.router.speed import Speed

_NOMINAL_INPUT_TOKENS, _NOMINAL_OUTPUT_TOKENS = 1000, 250  # the request that the catalogue is sorted by


@dataclass(frozen=True, slots=True)
class Model:
    """A model that may answer; `price` and `speed` are None where not known, `bytes_per_token` is of UTF-8 text."""

    name: str
    context_tokens: int
    domains: tuple[str, ...]
    supports_tools: bool
    is_default: bool
    bytes_per_token: float
    price: Price | None
    speed: Speed | None = None
    expected_output_tokens: int | None = None  # of an answer, thoughts included; the service's setting where None

    def cost_nano_usd(self, input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> int | None:
        """Expected cost in billionths of a dollar, None where unpriced; `cached_tokens` count within the input."""
        if self.price is None:
            return None
        return self.price.cost_nano_usd(input_tokens, output_tokens, min(cached_tokens, input_tokens))


class Catalogue:
    """Models by name, cheapest first, with exactly one default: the strong model."""

    def __init__(self, models: Iterable[Model]) -> None:
        """Sorts by the cost of a nominal request; the unpriced come last.

        Raises:
            ValueError: there is not exactly one default, or two models share a name.
        """
        ordered = sorted(models, key=_nominal_cost)
        self._models: Mapping[str, Model] = {model.name: model for model in ordered}
        if len(self._models) < len(ordered):
            names = [model.name for model in ordered]
            raise ValueError(f"models: got {max(names, key=names.count)!r} twice, expected each name once")
        defaults = [model for model in ordered if model.is_default]
        if len(defaults) != 1:
            marked = ", ".join(model.name for model in defaults) or "none"
            raise ValueError(f"models: got default: true on {marked}, expected it on exactly one, the strong model")
        self.default = defaults[0]
        self.models: Sequence[Model] = tuple(ordered)  # cheapest first
        self.names = tuple(self._models)  # cheapest first

    def __contains__(self, name: str) -> bool:
        return name in self._models

    def __getitem__(self, name: str) -> Model:
        return self._models[name]


def _nominal_cost(model: Model) -> tuple[bool, int]:
    said = model.expected_output_tokens or _NOMINAL_OUTPUT_TOKENS
    cost = model.cost_nano_usd(_NOMINAL_INPUT_TOKENS, said)
    return cost is None, cost or 0


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(min_length=1, max_length=200)]
    context_tokens: Annotated[int, Field(ge=1)]
    domains: tuple[str, ...] = ()
    supports_tools: bool = False
    default: bool = False
    bytes_per_token: Annotated[float, Field(gt=0, le=1000)] = 4.0
    provider: str | None = None
    price: PriceSource | None = None
    speed: Speed | None = None
    expected_output_tokens: Annotated[int, Field(ge=1)] | None = None


def load_catalogue(path: Path, prices: Path | None = None) -> Catalogue:
    """The catalogue in a YAML file; the prices of another win over its own.

    Raises:
        ConfigError: names file, model and key of the first mistake.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not YAML: {error}") from error
    if not isinstance(content, dict) or list(content) != ["models"] or not isinstance(content["models"], list):
        raise ConfigError(f"{path}: expected one key, models, with a list of models below it")
    models = [_model(path, index, entry) for index, entry in enumerate(content["models"])]
    if prices:
        overrides = load_overrides(prices, [model.name for model in models])
        models = [replace(model, price=overrides.get(model.name, model.price)) for model in models]
    try:
        return Catalogue(models)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error


def _model(path: Path, index: int, raw: Any) -> Model:
    name = raw.get("name", index) if isinstance(raw, dict) else index
    try:
        entry = _Entry.model_validate(raw)
        price = resolved(entry.price) if entry.price else named_price(entry.name, entry.provider)
    except ValidationError as error:
        problem = error.errors()[0]
        raise ConfigError(f"{path}: model {name!r}: {explained(problem, 'model')}") from error
    except LookupError as error:
        raise ConfigError(f"{path}: model {name!r}: price: {error.args[0]}") from error
    return Model(
        name=entry.name,
        context_tokens=entry.context_tokens,
        domains=entry.domains,
        supports_tools=entry.supports_tools,
        is_default=entry.default,
        bytes_per_token=entry.bytes_per_token,
        price=price,
        speed=entry.speed,
        expected_output_tokens=entry.expected_output_tokens,
    )
