"""Turns conversations into prompts: a folder's tokenizer and chat template, rendered in a sandbox."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer
from tokenizers.models import BPE

from services.chassis.errors import InvalidField
from services.executor.engine import Message
from services.executor.models.checkpoint import InvalidCheckpoint, read_json
from services.executor.models.config_reader import ConfigReader

LARGEST_TOKEN = 2**31 - 1
_REMEMBERED_WORDS = 2_000  # where a tokenizer splits nothing, each prompt is one: 1.7 kB


class ChatText:
    """A model folder's tokenizer and chat template.

    Raises:
        InvalidCheckpoint: the folder has no tokenizer, or no template that compiles.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.tokenizer = load_tokenizer(folder)
        config = read_json(folder / "tokenizer_config.json")
        self._template = _compile(folder, config)
        names = ("bos_token", "eos_token", "pad_token", "unk_token")
        reader = ConfigReader(folder / "tokenizer_config.json", config)
        self._special = {name: _content(reader, name) for name in names}
        self.end_tokens = self._end_tokens(folder)

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """The prompt that asks the model to continue the conversation.

        Raises:
            InvalidField: the template refuses the messages.
        """
        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            text = self._template.render(messages=turns, add_generation_prompt=True, **self._special)
        except (jinja2.TemplateError, TypeError) as error:
            raise InvalidField("messages", f"{len(messages)} messages", f"what the template takes: {error}") from error
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def check_vocabulary(self, vocabulary: int) -> None:
        """Refuses tokens that a model with embeddings for ids below `vocabulary` cannot take.

        Raises:
            InvalidCheckpoint: the tokenizer gives a larger id, or an answer would end with one.
        """
        ids = self.tokenizer.get_vocab(with_added_tokens=True)
        ends = {f"end token {token}": token for token in self.end_tokens}
        for name, token in (ids | ends).items():
            if token >= vocabulary:
                found = f"{self._folder}: {name!a} has id {token}"
                raise InvalidCheckpoint(f"{found}, expected less than vocab_size in config.json, {vocabulary}")

    def _end_tokens(self, folder: Path) -> frozenset[int]:
        """Tokens that end an answer: those of the generation and model configuration, and the tokenizer's own."""
        found: frozenset[int] = frozenset()
        for path in (folder / "generation_config.json", folder / "config.json"):
            if path.exists():
                found |= ConfigReader(path, read_json(path)).token_ids("eos_token_id", LARGEST_TOKEN)
        own = self.tokenizer.token_to_id(self._special["eos_token"])
        return found if own is None else found | {own}


def load_tokenizer(folder: Path) -> Tokenizer:
    """The folder's `tokenizer.json`, without any padding or truncation it may ask for.

    Raises:
        InvalidCheckpoint: it is missing or cannot be read.
    """
    path = folder / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:
        raise InvalidCheckpoint(f"{path}: no tokenizer: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if isinstance(tokenizer.model, BPE):
        tokenizer.model._resize_cache(_REMEMBERED_WORDS)
    return tokenizer


def _compile(folder: Path, config: Mapping[str, Any]) -> jinja2.Template:
    path = folder / "chat_template.jinja"
    source = path.read_text(encoding="utf-8") if path.exists() else config.get("chat_template")
    if not isinstance(source, str):
        raise InvalidCheckpoint(f"{folder / 'tokenizer_config.json'}: chat_template is missing")
    loops = "jinja2.ext.loopcontrols"  # as transformers has it
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loops])
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda format_: datetime.now().astimezone().strftime(format_)
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
    try:
        return environment.from_string(source)
    except jinja2.TemplateError as error:
        raise InvalidCheckpoint(f"{folder}: chat template does not compile: {error}") from error


def _refuse(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _content(config: ConfigReader, name: str) -> str:
    """A special token's text, which older folders wrap in an object."""
    wrapped = isinstance(config.values.get(name), dict)
    return config.section(name).text("content") if wrapped else config.text(name, "")
