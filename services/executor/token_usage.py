"""How many tokens a provider's usage counts: what was cached is part of the prompt at some, stands beside it at others.

Known providers are read by the rules that genai-prices keeps of each; any other door is read by what its usage says of
itself. Either way the result is ours: cached and written tokens are parts of the input, and no part exceeds its whole.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from services.executor.engine import Usage

if TYPE_CHECKING:
    from genai_prices.types import Provider

_FLAVORS = ("chat", "default", "anthropic", "responses")
_LARGEST = 2**40  # what the contract's int64 holds with room for sums
# Names by OpenTelemetry's GenAI conventions where they differ from those of genai-prices.
_CONVENTIONS = {
    "aws": "aws.bedrock",
    "azure": "azure.ai.openai",
    "google": "gcp.gemini",
    "mistral": "mistral_ai",
    "x-ai": "x_ai",
}
_CACHED = (
    ("prompt_tokens_details", "cached_tokens"),  # OpenAI, and most who speak its format
    ("prompt_cache_hit_tokens",),  # DeepSeek: hits and misses make up the prompt
    ("cached_tokens",),  # Moonshot
)
_WRITTEN = (("prompt_tokens_details", "cache_write_tokens"), ("prompt_tokens_details", "cache_creation_tokens"))


class UsageReader:
    """Reads the usage of one provider."""

    def __init__(self, provider: "Provider | None") -> None:
        found = (provider.extractors if provider else None) or ()
        by_flavor = {one.api_flavor: one for one in found}
        self._extractors = [by_flavor[flavor] for flavor in _FLAVORS if flavor in by_flavor]
        self.provider = _CONVENTIONS.get(provider.id, provider.id) if provider else "openai_compatible"

    def read(self, found: Mapping[str, Any]) -> Usage:
        """Tokens of one answer.

        Raises:
            ValueError, TypeError, KeyError: it is no usage of a form that is known here.
        """
        usage = self._by_rule(found) or _by_itself(found)
        total = _count(found.get("total_tokens"))
        # What only the total counts is thought that was not shown, and billed as output.
        unseen = total - usage.input_tokens - usage.output_tokens
        return _sound(usage, max(0, unseen))

    def _by_rule(self, found: Mapping[str, Any]) -> Usage | None:
        for extractor in self._extractors:
            try:
                _, read = extractor.extract({"usage": found})
            except (ValueError, TypeError):
                continue
            value = read.reported_value
            names = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
            usage = Usage(*(int(value(name)) for name in names))
            own = _by_itself(found)
            # A rule may lack a field that the door sends: what it reads of the cache itself is then taken.
            if (
                not usage.cached_input_tokens
                and not usage.cache_write_tokens
                and own.input_tokens == usage.input_tokens
            ):
                return Usage(usage.input_tokens, own.cached_input_tokens, own.cache_write_tokens, usage.output_tokens)
            return usage
        return None


def reader_for(provider: str | None, base_url: str) -> UsageReader:
    """The reader for a provider of genai-prices, named or known by its URL.

    Raises:
        LookupError: no provider has that name.
    """
    from genai_prices.data_snapshot import get_snapshot  # here, as only remote models are worth its 0.2 s

    try:
        return UsageReader(get_snapshot().find_provider(None, provider, None if provider else base_url))
    except LookupError:
        if provider:
            raise
        return UsageReader(None)


def _by_itself(found: Mapping[str, Any]) -> Usage:
    """By the fields alone: OpenAI's `prompt_tokens` count what was cached, Anthropic's `input_tokens` do not."""
    beside = _count(found.get("cache_read_input_tokens")), _count(found.get("cache_creation_input_tokens"))
    if "prompt_tokens" not in found:
        fresh, output = int(found["input_tokens"]), int(found["output_tokens"])
        if found.get("input_tokens_details"):  # OpenAI's Responses
            return Usage(fresh, _first(found, (("input_tokens_details", "cached_tokens"),)), 0, output)
        return Usage(fresh + sum(beside), *beside, output)
    prompt, output = int(found["prompt_tokens"]), int(found["completion_tokens"])
    cached, written = _first(found, _CACHED), _first(found, _WRITTEN)
    if cached or written or not any(beside):
        return Usage(prompt, cached, written, output)
    # Anthropic's names in OpenAI's format: most doors add them into the prompt; a total, or their size, tells others.
    whole = prompt + sum(beside)
    added = sum(beside) > prompt or _count(found.get("total_tokens")) == whole + output
    return Usage(whole if added else prompt, *beside, output)


def _first(found: Mapping[str, Any], paths: Sequence[Sequence[str]]) -> int:
    for path in paths:
        value: Any = found
        for step in path:
            value = value.get(step) if isinstance(value, Mapping) else None
        if value:
            return _count(value)
    return 0


def _count(value: Any) -> int:
    return int(value or 0)


def _sound(usage: Usage, unseen: int) -> Usage:
    whole = min(max(usage.input_tokens, 0), _LARGEST)
    cached = min(max(usage.cached_input_tokens, 0), whole)
    written = min(max(usage.cache_write_tokens, 0), whole - cached)
    return Usage(whole, cached, written, min(max(usage.output_tokens, 0) + unseen, _LARGEST))
