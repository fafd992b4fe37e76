"""A process of its own that tries schemas out, so that one that never comes to an end can be ended from outside.

Reads a JSON string a line, the schema, and writes a JSON string a line: why it cannot be used, empty where it can.
"""

import json
import resource
import sys

from llguidance import LLTokenizer, TokenizerWrapper

from services.executor.vocabulary import matcher

_MOST_BYTES = 1 << 30  # of address space; what needs more ends this process
_STEPS = 16


class Bytes:
    """The 256 bytes and an end as a vocabulary: schemas cost much the same with any."""

    eos_token_id = 256
    bos_token_id = None
    tokens = (*(bytes([value]) for value in range(256)), b"<end>")
    special_token_ids = (256,)

    def __call__(self, text: bytes | str) -> list[int]:
        """Its tokens."""
        return list(text if isinstance(text, bytes) else text.encode())


def verdict(schema: str, tokens: LLTokenizer) -> str:
    """Why a schema cannot be used; empty where it can."""
    try:
        made = matcher(tokens, schema)
    except ValueError as error:
        return str(error)
    for _ in range(_STEPS):
        if made.is_error() or made.is_stopped():
            break
        bits = made.compute_bitmask()
        first = next((at for at in range(256) if bits[at // 8] >> at % 8 & 1), None)
        if first is None or not made.consume_token(first):
            break
    return str(made.get_error())


def main() -> None:
    """Answers until its input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
    tokens = LLTokenizer(TokenizerWrapper(Bytes()))
    for line in sys.stdin:
        print(json.dumps(verdict(json.loads(line), tokens)), flush=True)


if __name__ == "__main__":
    main()
