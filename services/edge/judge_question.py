"""How a model is asked about two answers: they are data inside of JSON strings, and its reply is one of few words."""

import json
from collections.abc import Sequence
from dataclasses import replace

from services.edge.chat import CacheControl, Message, Objective, Request, Sampling

LONGEST_BYTES = 64 * 1024  # of a question
OUTPUT_TOKENS = 64
TIMEOUT_S = 60.0


def choice(name: str, words: Sequence[str]) -> str:
    """The JSON schema of an object that has one of these words under a name."""
    return json.dumps(
        {
            "type": "object",
            "properties": {name: {"type": "string", "enum": list(words)}},
            "required": [name],
            "additionalProperties": False,
        }
    )


def question(request: Request, answers: tuple[str, str], instructions: str, schema: str) -> Request:
    """What a judge is asked about two answers to a request: both inside of JSON strings, its reply constrained."""
    turns = [{"role": message.role, "content": message.content} for message in request.messages]
    data = {"request": turns, "answers": answers}
    messages = Message("system", instructions), Message("user", json.dumps(data, ensure_ascii=False))
    sampling = Sampling(max_output_tokens=OUTPUT_TOKENS, temperature=0.0, json_schema=schema)
    alone = CacheControl(no_cache=True, no_store=True)
    return replace(request, messages=messages, sampling=sampling, objective=Objective(), tools=(), cache_control=alone)


def said(text: str, name: str) -> str | None:
    """The text that a reply, a JSON object, has under a name; None where it has none."""
    try:
        found = json.loads(text)[name]
    except (json.JSONDecodeError, KeyError, TypeError, IndexError):
        return None
    return found if isinstance(found, str) else None
