"""Renders a folder's chat template in a sandbox, where it reaches nothing, changes nothing, and makes only so much."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import jinja2

from services.chassis.errors import Internal, InvalidField
from services.executor.models.checkpoint import InvalidCheckpoint
from services.executor.template_sandbox import TemplateSandbox

_LONGEST_FORMAT = 200  # of a date


class _Refused(Exception):
    """What the template says of messages that it does not take."""


class ChatTemplate:
    """A compiled template.

    Args:
        folder: whose `chat_template.jinja`, or else the `chat_template` of its tokenizer's configuration, is taken.
        config: the tokenizer's configuration.
        special: texts of the tokens that templates name, such as `eos_token`.

    Raises:
        InvalidCheckpoint: there is none, or it is no text or does not compile.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], special: Mapping[str, str]) -> None:
        apart, within = folder / "chat_template.jinja", folder / "tokenizer_config.json"
        self.path = apart if apart.exists() else within
        source = _text(apart) if self.path is apart else _default(config.get("chat_template"))
        if not isinstance(source, str):
            raise InvalidCheckpoint(f"{self.path}: chat_template is missing")
        loops = "jinja2.ext.loopcontrols"  # as transformers has it
        self._sandbox = environment = TemplateSandbox(trim_blocks=True, lstrip_blocks=True, extensions=[loops])
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = _date
        environment.add_filter("tojson", lambda value, **options: json.dumps(value, ensure_ascii=False, **options))
        self._special = dict(special)
        try:
            self._template = environment.from_string(source)
        except (jinja2.TemplateError, RecursionError) as error:
            raise InvalidCheckpoint(f"{self.path}: chat template does not compile: {error}") from error

    def render(self, turns: Sequence[Mapping[str, str]]) -> str:
        """The text that asks the model to continue the conversation.

        Raises:
            InvalidField: the template refuses the messages.
            Internal: it fails, takes too long, or writes too much.
        """
        variables = {"messages": turns, "add_generation_prompt": True, **self._special}
        try:
            with self._sandbox.rendering():
                return "".join(self._template.generate(variables))
        except _Refused as refusal:
            found, expected = f"{len(turns)} messages", f"what the template takes: {refusal}"
            raise InvalidField("messages", found, expected) from None
        except Exception as error:  # what templates of strangers raise is anybody's guess
            raise Internal("chat template", f"{type(error).__name__}: {error}", "a template that renders") from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidCheckpoint(f"{path}: is not UTF-8: {error}") from error


def _default(templates: Any) -> Any:
    """The template that folders with several call so."""
    if isinstance(templates, list):
        return next((one.get("template") for one in templates if one.get("name") == "default"), None)
    return templates


def _refuse(message: str) -> NoReturn:
    raise _Refused(message)


def _date(format_: str) -> str:
    """The time here and now; widths are refused, for they may be anything."""
    if len(format_) > _LONGEST_FORMAT or re.search(r"%[^a-zA-Z%]*\d", format_):
        raise jinja2.TemplateRuntimeError(f"a date's format that is too long: {format_[:40]!r}")
    return datetime.now().astimezone().strftime(format_)
