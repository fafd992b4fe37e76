"""Renders a folder's chat template in a sandbox: it reaches nothing, changes nothing, and ends."""

import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from services.chassis.errors import Internal, InvalidField
from services.executor.models.checkpoint import InvalidCheckpoint

_LONGEST_S = 2.0
_LONGEST_CHARACTERS = 16 * 1024 * 1024
_TICK = "_tick"


class _Refused(Exception):
    """What the template says of messages that it does not take."""


class _Sandbox(ImmutableSandboxedEnvironment):
    """Multiplication cannot fill memory, and every round of a loop or a macro looks at the clock."""

    intercepted_binops = frozenset(("*", "**"))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """The product of numbers of an ordinary size."""
        sizes = [len(one) if isinstance(one, str | list | tuple) else abs(one) for one in (left, right)]
        if max(sizes) > 1_000_000 or (operator == "**" and sizes[1] > 64):
            raise jinja2.TemplateRuntimeError("a product that is too large")
        return super().call_binop(context, operator, left, right)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for found in tree.find_all((nodes.For, nodes.Macro, nodes.CallBlock)):
            look = nodes.Call(nodes.Name(_TICK, "load"), [], [], None, None)
            vars(found)["body"].insert(0, nodes.Output([look], lineno=found.lineno))
        return tree


class ChatTemplate:
    """A compiled template.

    Args:
        folder: whose `chat_template.jinja`, or else the `chat_template` of its tokenizer's configuration, is taken.
        config: the tokenizer's configuration.
        special: texts of the tokens that templates name, such as `eos_token`.

    Raises:
        InvalidCheckpoint: there is none, or it does not compile.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], special: Mapping[str, str]) -> None:
        path = folder / "chat_template.jinja"
        source = path.read_text(encoding="utf-8") if path.exists() else _default(config.get("chat_template"))
        if not isinstance(source, str):
            raise InvalidCheckpoint(f"{folder / 'tokenizer_config.json'}: chat_template is missing")
        loops = "jinja2.ext.loopcontrols"  # as transformers has it
        environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[loops])
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda format_: datetime.now().astimezone().strftime(format_)
        environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
        self._special = dict(special)
        try:
            self._template = environment.from_string(source)
        except (jinja2.TemplateError, RecursionError) as error:
            raise InvalidCheckpoint(f"{folder}: chat template does not compile: {error}") from error

    def render(self, turns: Sequence[Mapping[str, str]]) -> str:
        """The text that asks the model to continue the conversation.

        Raises:
            InvalidField: the template refuses the messages.
            Internal: it fails, takes too long, or writes too much.
        """
        ends = time.monotonic() + _LONGEST_S

        def tick() -> str:
            if time.monotonic() > ends:
                raise jinja2.TemplateRuntimeError(f"more than {_LONGEST_S} seconds")
            return ""

        variables = {"messages": turns, "add_generation_prompt": True, **self._special, _TICK: tick}
        pieces: list[str] = []
        size = 0
        try:
            for piece in self._template.generate(variables):
                pieces.append(piece)
                size += len(piece)
                if size > _LONGEST_CHARACTERS:
                    raise jinja2.TemplateRuntimeError(f"more than {_LONGEST_CHARACTERS} characters")
        except _Refused as refusal:
            found, expected = f"{len(turns)} messages", f"what the template takes: {refusal}"
            raise InvalidField("messages", found, expected) from None
        except Exception as error:  # what templates of strangers raise is anybody's guess
            raise Internal("chat template", f"{type(error).__name__}: {error}", "a template that renders") from error
        return "".join(pieces)


def _default(templates: Any) -> Any:
    """The template that folders with several call so."""
    if isinstance(templates, list):
        return next((one.get("template") for one in templates if one.get("name") == "default"), None)
    return templates


def _refuse(message: str) -> NoReturn:
    raise _Refused(message)
