"""Turns conversations into prompts, in which nothing that anybody said becomes a special token."""

import re
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import BPE

from services.chassis.errors import Internal, InvalidField
from services.executor.chat_template import ChatTemplate
from services.executor.engine import Message
from services.executor.models.checkpoint import InvalidCheckpoint, read_json
from services.executor.models.config_reader import ConfigReader

LARGEST_TOKEN = 2**31 - 1
_CUTS = [chr(code) for code in range(0xF0000, 0xF0400)]  # for private use, so that hardly any text holds one

_NEUTRAL = "x"  # said in place of what was said, to see which special tokens are the template's own


class ChatText:
    """A model folder's tokenizer and chat template.

    Raises:
        InvalidCheckpoint: the folder has no tokenizer, or no template that compiles.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.tokenizer = load_tokenizer(folder)
        config = read_json(folder / "tokenizer_config.json")
        names = ("bos_token", "eos_token", "pad_token", "unk_token")
        reader = ConfigReader(folder / "tokenizer_config.json", config)
        self._special = {name: _content(reader, name) for name in names}
        self._template = ChatTemplate(folder, config, self._special)
        self.end_tokens = self._end_tokens(folder)
        added = self.tokenizer.get_added_tokens_decoder()
        named = {number for number, token in added.items() if token.special}
        self._special_ids = named | (self.end_tokens & set(added))
        texts = sorted((added[number].content for number in self._special_ids), key=len, reverse=True)
        self._special_text = re.compile("|".join(map(re.escape, texts)) or r"(?!)")

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """The prompt that asks the model to continue the conversation.

        Special tokens come from the template alone: where someone wrote the text of one, it is cut in two before it is
        encoded, and so read as the characters that it consists of. Where the template makes one of what was said, so
        that the prompt has others than the same turns with a plain word in each, the messages are refused.

        Raises:
            InvalidField: the template refuses the messages, or some text cannot be kept from being a special token.
            Internal: the template fails.
        """
        said = [message.content for message in messages]
        cut = ""
        if any(map(self._special_text.search, said)):
            cut = next((one for one in _CUTS if not any(one in text for text in said)), "")
            said = [self._special_text.sub(lambda found: _halved(found[0], cut), text) for text in said]
        if self._special_text.search("".join(text.strip() for text in said)):
            raise _unsafe()
        ids = self._ids(self._rendered(messages, said), cut)
        neutral = [_NEUTRAL if text.strip() else text for text in said]
        if self._specials(ids) != self._specials(self._ids(self._rendered(messages, neutral), "")):
            raise _unsafe()
        return ids

    def check_template(self) -> None:
        """Refuses a template of which no request would get a prompt.

        Raises:
            InvalidCheckpoint: it fails at one plain message, or makes nothing of it.
        """
        try:
            prompt = self.encode([Message("user", _NEUTRAL)])
        except InvalidField:
            return  # it wants other turns, as it will tell who asks
        except Internal as error:
            raise InvalidCheckpoint(f"{self._template.path}: {error}") from error
        if not prompt:
            raise InvalidCheckpoint(f"{self._template.path}: chat_template makes nothing of a message")

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

    def _rendered(self, messages: Sequence[Message], said: Sequence[str]) -> str:
        turns = [{"role": message.role, "content": text} for message, text in zip(messages, said, strict=True)]
        return self._template.render(turns)

    def _ids(self, rendered: str, cut: str) -> list[int]:
        pieces = rendered.split(cut) if cut else [rendered]
        return [token for piece in pieces for token in self.tokenizer.encode(piece, add_special_tokens=False).ids]

    def _specials(self, ids: Sequence[int]) -> list[int]:
        return [number for number in ids if number in self._special_ids]

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
    if isinstance(tokenizer.model, BPE) and not _splits(tokenizer):
        tokenizer.model._resize_cache(0)  # of words, which would be whole prompts of 2 kB each, that seldom return
    return tokenizer


def _splits(tokenizer: Tokenizer) -> bool:
    return tokenizer.pre_tokenizer is not None and len(tokenizer.pre_tokenizer.pre_tokenize_str("two words")) > 1


def _unsafe() -> InvalidField:
    return InvalidField("messages", "text that reads as a special token", "text without one")


def _halved(text: str, cut: str) -> str:
    return text[: len(text) // 2] + cut + text[len(text) // 2 :]


def _content(config: ConfigReader, name: str) -> str:
    """A special token's text, which older folders wrap in an object."""
    wrapped = isinstance(config.values.get(name), dict)
    return config.section(name).text("content") if wrapped else config.text(name, "")
