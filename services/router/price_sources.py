"""Where a model's price comes from: the catalogue, a file that overrides it, or the library of published prices."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog
import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from services.chassis.settings import ConfigError
from services.router.prices import ListPrice, MachinePrice, Price, published_price, publisher


class _Published(BaseModel):
    model_config = ConfigDict(extra="forbid")
    provider: str
    model: str


class PriceSource(BaseModel):
    """A price as a file states it: exactly one of the three."""

    model_config = ConfigDict(extra="forbid")
    list: ListPrice | None = None
    machine: MachinePrice | None = None
    published: _Published | None = None


def resolved(source: PriceSource) -> Price:
    """The price that a source means; LookupError where it is not exactly one, or not published."""
    given = [one for one in (source.list, source.machine, source.published) if one is not None]
    if len(given) != 1:
        raise LookupError(f"got {len(given)} prices, expected exactly one of list, machine, published")
    chosen = given[0]
    return published_price(chosen.provider, chosen.model) if isinstance(chosen, _Published) else chosen


def named_price(model: str, provider: str | None) -> Price | None:
    """The published price of a model of that name; None where none is known, LookupError if `provider` was given."""
    if provider:
        return published_price(provider, model)
    try:
        price = published_price(None, model)
    except LookupError:
        return None
    structlog.get_logger("router").info("price found by the model's name", model=model, provider=publisher(model))
    return price


def load_overrides(path: Path, models: Sequence[str]) -> Mapping[str, Price | None]:
    """Prices by model name in a YAML file; null makes a model unpriced.

    Raises:
        ConfigError: names file, model and key of the first mistake, a model that is not in the catalogue among them.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: got {type(content).__name__}, expected model names with a price below each")
    prices: dict[str, Price | None] = {}
    for name, raw in content.items():
        if name not in models:
            raise ConfigError(f"{path}: model {name!r}: not in the catalogue, expected one of {', '.join(models)}")
        try:
            source = TypeAdapter(PriceSource | None).validate_python(raw)
            prices[name] = resolved(source) if source else None
        except ValidationError as error:
            raise ConfigError(f"{path}: model {name!r}: {explained(error.errors()[0], 'price')}") from error
        except LookupError as error:
            raise ConfigError(f"{path}: model {name!r}: price: {error.args[0]}") from error
    return prices


def explained(problem: Any, whole: str) -> str:
    """Key, value and expectation of one mistake; `whole` is what it is called where it has no key."""
    key = ".".join(str(part) for part in problem["loc"]) or whole
    got = "an unknown key" if problem["type"] == "extra_forbidden" else repr(problem["input"])[:100]
    return f"{key}: got {got}, expected: {problem['msg']}"
