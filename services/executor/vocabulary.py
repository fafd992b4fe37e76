"""A tokenizer's tokens as bytes, which is what grammars and probabilities are told of."""

from typing import Any

from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from tokenizers import Tokenizer

# Beyond these a schema is refused, or the answer ends; a matcher's own limits are far from what a service can spend.
LIMITS: dict[str, Any] = {
    "initial_lexer_fuel": 200_000,
    "step_lexer_fuel": 50_000,
    "step_max_items": 20_000,
    "max_lexer_states": 20_000,
    "max_grammar_size": 50_000,
    "max_items_in_row": 1_000,
    "precompute_large_lexemes": False,
    "verbose_errors": False,
}
# Between JSON's tokens a model may set a space: more would be paid for, and one could go on with nothing else.
_STYLE: dict[str, Any] = {"whitespace_pattern": r"\x20?"}


class Vocabulary:
    """Made once a model, before it is ready: for 150,000 tokens that takes a second.

    Args:
        tokenizer: the model's.
        end_tokens: tokens that end an answer, at least one.
        size: how many tokens the model's logits are of.

    Raises:
        ValueError: the tokenizer is of a kind whose tokens' bytes are not known.
    """

    def __init__(self, tokenizer: Tokenizer, end_tokens: frozenset[int], size: int) -> None:
        if not end_tokens:
            raise ValueError("no token ends an answer")
        size = max(size, tokenizer.get_vocab_size(with_added_tokens=True))
        self._tokens = LLTokenizer(tokenizer.to_str(), n_vocab=size, eos_token=sorted(end_tokens))

    def token_bytes(self, token: int) -> bytes:
        """What a token stands for; a special one by its name."""
        found: bytes = self._tokens.decode_bytes([token])
        return found

    def matcher(self, json_schema: str) -> LLMatcher:
        """Follows answers that satisfy a schema; where it could not be made, it says so itself."""
        return matcher(self._tokens, json_schema)


def matcher(tokens: LLTokenizer, json_schema: str) -> LLMatcher:
    """As above, of any tokens."""
    grammar = LLMatcher.grammar_from_json_schema(json_schema, defaults=_STYLE)  # type: ignore[arg-type]
    return LLMatcher(tokens, grammar, log_level=0, limits=LLParserLimits(**LIMITS))
