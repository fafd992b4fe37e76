"""The byte tokeniser and chat format of the reference models: a token's id is its byte, special tokens follow."""

from __future__ import annotations

from collections.abc import Sequence

PAD, SYSTEM, USER, ASSISTANT, END = 256, 257, 258, 259, 260
SPECIAL_TOKENS = {"<|pad|>": PAD, "<|system|>": SYSTEM, "<|user|>": USER, "<|assistant|>": ASSISTANT, "<|end|>": END}

TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def turn(role: str, content: str) -> list[int]:
    """One message as token ids, closed by the end token."""
    return [SPECIAL_TOKENS[f"<|{role}|>"], *content.encode(), END]


def byte_symbols() -> Sequence[str]:
    """The printable character that byte-level BPE writes for each byte, by byte (GPT-2's table)."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]
