"""Prompts are rendered in a sandbox from the folder's own template."""

import json
from pathlib import Path
from typing import Any

import pytest

from services.chassis.errors import InvalidField
from services.executor.chat_text import ChatText
from services.executor.engine import Message
from services.executor.models.checkpoint import InvalidCheckpoint
from tests.unit.executor.folders import ASSISTANT, END, USER, llama_folder


def with_template(folder: Path, template: str | None) -> Path:
    llama_folder(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|end|>", "chat_template": template}))
    return folder


def test_renders_and_encodes(tmp_path: Path) -> None:
    """Turns become the template's special tokens and the bytes between."""
    text = ChatText(llama_folder(tmp_path))
    assert text.encode([Message("user", "hé")]) == [USER, *"hé".encode(), END, ASSISTANT]
    assert text.end_tokens == {END}


def test_a_template_file_wins(tmp_path: Path) -> None:
    """A chat_template.jinja beside the configuration is used in its place."""
    (llama_folder(tmp_path) / "chat_template.jinja").write_text("{{ messages[0].content }}{{ eos_token }}")
    assert ChatText(tmp_path).encode([Message("user", "a")]) == [ord("a"), END]


def test_a_refusing_template_is_the_callers_error(tmp_path: Path) -> None:
    """What the template raises comes back as an invalid field."""
    with pytest.raises(InvalidField, match="no system turns"):
        ChatText(llama_folder(tmp_path)).encode([Message("system", "x")])


@pytest.mark.parametrize("escape", ["{{ ''.__class__.__mro__ }}", "{{ messages.append(1) }}"])
def test_templates_cannot_reach_out(tmp_path: Path, escape: str) -> None:
    """A template sees no Python internals and changes nothing."""
    with pytest.raises(InvalidField):
        ChatText(with_template(tmp_path, escape)).encode([Message("user", "x")])


@pytest.mark.parametrize("template", [None, "{% for %}"])
def test_unusable_templates_refuse_the_folder(tmp_path: Path, template: str | None) -> None:
    """A folder without a template, or with one that does not compile, is refused."""
    with pytest.raises(InvalidCheckpoint, match="template"):
        ChatText(with_template(tmp_path, template))


def test_tokens_beyond_the_embeddings_are_refused(tmp_path: Path) -> None:
    """A tokenizer or an end of answers with ids that the model has no embedding for is refused by token and id."""
    text = ChatText(llama_folder(tmp_path))
    text.check_vocabulary(259)
    with pytest.raises(InvalidCheckpoint, match=r"'<\|assistant\|>' has id 258, expected less than .* 258"):
        text.check_vocabulary(258)
    far = ChatText(llama_folder(tmp_path / "far", eos_token_id=[5, 400]))
    with pytest.raises(InvalidCheckpoint, match="'end token 400' has id 400"):
        far.check_vocabulary(260)


@pytest.mark.parametrize("odd", [[[]], 0.5, True, -1, "256", {"a": 1}, 2**31])
def test_odd_end_tokens_are_refused(tmp_path: Path, odd: Any) -> None:
    """`eos_token_id` is one id, a list of ids or absent."""
    with pytest.raises(InvalidCheckpoint, match=r"config\.json: eos_token_id is .*, expected token ids of 0 to"):
        ChatText(llama_folder(tmp_path, eos_token_id=odd))
