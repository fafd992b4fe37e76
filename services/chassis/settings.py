"""Settings: one YAML file with a section a service, overridden by the environment, read once, explained when wrong."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_args

import yaml
from pydantic import BaseModel, Field, Tag, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from services.chassis.access import IdentitySettings, TlsSettings, contradiction
from services.chassis.tracing import TracingSettings


class ConfigError(Exception):
    """Settings that cannot be used; the message names each key, its value and what was expected."""


class _Environment(EnvSettingsSource):
    """The environment, its mistakes left for validation to find rather than swallowed."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """What the JSON text stands for; the text itself where it is none."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value

    def __call__(self) -> dict[str, Any]:
        found = super().__call__()
        for variable, value in self.env_vars.items():
            if variable.startswith(self.env_prefix.lower()):
                key = variable.removeprefix(self.env_prefix.lower()).split("__")[0]
                if key not in self.settings_cls.model_fields:
                    found[key] = value
        return found


class Section(BaseSettings):
    """One service's slice of the settings; `FULCRUM_<SECTION>__<KEY>` in the environment wins over the file."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_nested_delimiter="__", nested_model_default_partial_update=True
    )
    section: ClassVar[str]

    def __init_subclass__(cls, **_: Any) -> None:
        super().__init_subclass__()

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Names the section and with it the environment prefix."""
        section: str = kwargs["section"]
        cls.section = section
        cls.model_config["env_prefix"] = f"FULCRUM_{section.upper()}__"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment over the file."""
        return _Environment(settings_cls), init_settings


class ServerSettings(Section, section="server"):
    """How a process serves, whatever it serves."""

    host: str = Field("127.0.0.1", description="address to bind")
    port: int = Field(50551, ge=0, le=65535, description="port to bind; 0 lets the system choose")
    metrics_port: int | None = Field(None, ge=0, le=65535, description="Prometheus port; none where unset")
    max_message_bytes: int = Field(4 * 1024 * 1024, ge=1024, description="largest message taken")
    max_concurrent_calls: int = Field(1024, ge=1, description="calls at once; more are refused at once")
    default_deadline_s: float = Field(60.0, gt=0, description="deadline of a call whose caller gave none")
    drain_s: float = Field(10.0, ge=0, description="time that running calls get to end on SIGTERM")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="least level logged")
    log_format: str = Field("json", pattern="^(json|console)$", description="one JSON object or one readable line")
    tracing: TracingSettings = Field(TracingSettings(), description="OpenTelemetry traces; none without an endpoint")
    tls: TlsSettings | None = Field(None, description="certificate and key of this server; no TLS where unset")
    identity: IdentitySettings = Field(IdentitySettings(), description="how callers show who they are")

    @model_validator(mode="after")
    def _consistent(self) -> "ServerSettings":
        problem = contradiction(self.host, self.tls, self.identity)
        if problem:
            raise ValueError(problem)
        return self


S = TypeVar("S", bound=Section)


def read_file(path: Path | None) -> Mapping[str, Any]:
    """The file's sections; empty where `path` is None.

    Raises:
        ConfigError: the file is missing, is not YAML, or is not a mapping of sections.
    """
    if path is None:
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not YAML: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: got {type(content).__name__}, expected sections such as 'server:' with keys below")
    for name, value in content.items():
        if not isinstance(value, dict | None):
            raise ConfigError(f"{path}: {name}: got {value!r}, expected keys below")
    return {str(name): {str(key): one for key, one in (value or {}).items()} for name, value in content.items()}


def load(cls: type[S], sections: Mapping[str, Any]) -> S:
    """One section's settings from the file's sections and the environment.

    Raises:
        ConfigError: a key is unknown or a value is wrong.
    """
    try:
        return cls(**sections.get(cls.section, {}))
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(cls, problem) for problem in error.errors())) from error


def refuse_unknown(
    sections: Mapping[str, Any], known: tuple[type[Section], ...], environment: Mapping[str, str] = os.environ
) -> None:
    """Raises ConfigError where the file or the environment has a section that no service reads."""
    names = [cls.section for cls in known]
    found = {name: name for name in sections}
    for variable in environment:
        if variable.startswith("FULCRUM_") and "__" in variable:
            found[variable] = variable.removeprefix("FULCRUM_").split("__")[0].lower()
    for where, name in found.items():
        if name not in names:
            raise ConfigError(f"{where}: unknown section, expected one of {', '.join(names)}")


def _explain(cls: type[Section], problem: Any) -> str:
    path = [str(part) for part in problem["loc"]]
    if len(path) > 2 and path[2] in _tags(cls.model_fields[path[0]].annotation):
        path.pop(2)  # which kind of value it is, of those that a mapping may hold: no key
    if not path:  # what several values say together
        return f"{cls.section}.{problem['ctx']['error']}"
    key = ".".join([cls.section, *path])
    variable = "FULCRUM_" + "__".join([cls.section, *path]).upper()
    if problem["type"] == "extra_forbidden":
        known = _keys(cls, path[:-1])
        return f"{key} (or {variable}): unknown key" + (f", expected one of {', '.join(known)}" if known else "")
    return f"{key} (or {variable}): got {problem.get('input')!r}, expected: {problem['msg']}"


def _tags(annotation: Any) -> Iterable[str]:
    for part in get_args(annotation):
        yield from [part.tag] if isinstance(part, Tag) else _tags(part)


def _keys(model: type[BaseModel], path: list[str]) -> Iterable[str]:
    for part in path:
        if part not in model.model_fields:
            return ()
        annotation = model.model_fields[part].annotation
        inner = [one for one in (annotation, *get_args(annotation)) if isinstance(one, type)]
        models = [one for one in inner if issubclass(one, BaseModel)]
        if len(models) != 1:
            return ()
        model = models[0]
    return model.model_fields
