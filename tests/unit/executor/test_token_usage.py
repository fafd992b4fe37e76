"""Usage as providers send it, and what it comes to: cached and written tokens are parts of the input, always."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.chassis.settings import ConfigError
from services.executor.engine import Usage
from services.executor.registry import make_registry
from services.executor.settings import RemoteModel
from services.executor.token_usage import reader_for

OPENAI, ANTHROPIC = "https://api.openai.com/v1", "https://api.anthropic.com/v1"
GOOGLE = "https://generativelanguage.googleapis.com/v1beta/openai"
DEEPSEEK, XAI, OWN = "https://api.deepseek.com", "https://api.x.ai/v1", "http://127.0.0.1:8000/v1"
URLS = (OPENAI, ANTHROPIC, GOOGLE, DEEPSEEK, XAI, "https://api.mistral.ai/v1", "https://openrouter.ai/api/v1", OWN)

TABLE: list[tuple[str, str, dict[str, Any], Usage]] = [
    (
        "OpenAI: cached is a subset, reasoning is part of the completion",
        OPENAI,
        {
            "prompt_tokens": 2006,
            "completion_tokens": 300,
            "total_tokens": 2306,
            "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 192, "accepted_prediction_tokens": 0},
        },
        Usage(2006, 1920, 0, 300),
    ),
    (
        "Anthropic's own format: reads and writes are additions",
        ANTHROPIC,
        {
            "input_tokens": 21,
            "cache_creation_input_tokens": 188,
            "cache_read_input_tokens": 1800,
            "output_tokens": 393,
        },
        Usage(2009, 1800, 188, 393),
    ),
    (
        "Anthropic's own format through a door of one's own",
        OWN,
        {"input_tokens": 21, "cache_creation_input_tokens": 188, "cache_read_input_tokens": 1800, "output_tokens": 3},
        Usage(2009, 1800, 188, 3),
    ),
    (
        "Anthropic's OpenAI-compatible format",
        ANTHROPIC,
        {"prompt_tokens": 2009, "completion_tokens": 393, "total_tokens": 2402, "cached_tokens": 1800},
        Usage(2009, 1800, 0, 393),
    ),
    (
        "a proxy that adds Anthropic's cache tokens into the prompt",
        OWN,
        {
            "prompt_tokens": 2009,
            "completion_tokens": 393,
            "total_tokens": 2402,
            "cache_read_input_tokens": 1800,
            "cache_creation_input_tokens": 188,
        },
        Usage(2009, 1800, 188, 393),
    ),
    (
        "a proxy that leaves them beside the prompt",
        OWN,
        {
            "prompt_tokens": 21,
            "completion_tokens": 393,
            "cache_read_input_tokens": 1800,
            "cache_creation_input_tokens": 188,
        },
        Usage(2009, 1800, 188, 393),
    ),
    (
        "a proxy that leaves a small part beside the prompt, as its total tells",
        OWN,
        {"prompt_tokens": 2000, "completion_tokens": 10, "total_tokens": 2110, "cache_read_input_tokens": 100},
        Usage(2100, 100, 0, 10),
    ),
    (
        "Gemini's OpenAI-compatible format: thoughts are in the total alone",
        GOOGLE,
        {
            "prompt_tokens": 1500,
            "completion_tokens": 40,
            "total_tokens": 2140,
            "prompt_tokens_details": {"cached_tokens": 1024},
        },
        Usage(1500, 1024, 0, 640),
    ),
    (
        "DeepSeek: hits and misses make up the prompt",
        DEEPSEEK,
        {
            "prompt_tokens": 1000,
            "completion_tokens": 50,
            "total_tokens": 1050,
            "prompt_cache_hit_tokens": 640,
            "prompt_cache_miss_tokens": 360,
        },
        Usage(1000, 640, 0, 50),
    ),
    (
        "DeepSeek with both of its spellings",
        DEEPSEEK,
        {
            "prompt_tokens": 1000,
            "completion_tokens": 50,
            "total_tokens": 1050,
            "prompt_cache_hit_tokens": 640,
            "prompt_cache_miss_tokens": 360,
            "prompt_tokens_details": {"cached_tokens": 640},
            "completion_tokens_details": {"reasoning_tokens": 30},
        },
        Usage(1000, 640, 0, 50),
    ),
    (
        "xAI: reasoning is beside the completion",
        XAI,
        {
            "prompt_tokens": 37,
            "completion_tokens": 9,
            "total_tokens": 240,
            "prompt_tokens_details": {"cached_tokens": 8},
            "completion_tokens_details": {"reasoning_tokens": 194},
        },
        Usage(37, 8, 0, 203),
    ),
    (
        "OpenRouter: writes are named too",
        "https://openrouter.ai/api/v1",
        {
            "prompt_tokens": 500,
            "completion_tokens": 5,
            "total_tokens": 505,
            "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 300},
        },
        Usage(500, 100, 300, 5),
    ),
    (
        "Moonshot through a door of one's own",
        OWN,
        {"prompt_tokens": 500, "completion_tokens": 5, "total_tokens": 505, "cached_tokens": 256},
        Usage(500, 256, 0, 5),
    ),
    (
        "a server that counts nothing but prompt and completion",
        OWN,
        {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": None},
        Usage(5, 0, 0, 2),
    ),
    (
        "OpenAI's Responses format",
        OWN,
        {"input_tokens": 300, "output_tokens": 7, "input_tokens_details": {"cached_tokens": 128}},
        Usage(300, 128, 0, 7),
    ),
]


@pytest.mark.parametrize(("url", "sent", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_usage_as_it_is_sent(url: str, sent: dict[str, Any], expected: Usage) -> None:
    """Each provider's own arithmetic comes to ours."""
    assert reader_for(None, url).read(sent) == expected


def test_a_named_provider_wins_over_the_url() -> None:
    """A proxy's usage is read by the rules of the provider that is named."""
    sent = {"prompt_tokens": 37, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 194}}
    assert reader_for(None, OWN).read(sent).output_tokens == 9
    assert reader_for("x-ai", OWN).read(sent).output_tokens == 203


@pytest.mark.parametrize(
    ("url", "name"),
    [(OPENAI, "openai"), (ANTHROPIC, "anthropic"), (GOOGLE, "gcp.gemini"), (XAI, "x_ai"), (OWN, "openai_compatible")],
)
def test_spans_name_the_provider_by_convention(url: str, name: str) -> None:
    """The provider's name is that of OpenTelemetry's GenAI conventions."""
    assert reader_for(None, url).provider == name


def test_an_unknown_provider_is_explained() -> None:
    """A misspelt provider names key, value and what was expected."""
    with pytest.raises(ConfigError) as caught:
        make_registry({"gpt": RemoteModel(base_url=OWN, provider="opnai")})
    assert str(caught.value).startswith("executor.models.gpt.provider: got 'opnai', expected ")


counts = st.integers(-10, 10**6) | st.none() | st.integers(-(2**70), 2**70)
fields = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(
            (
                "total_tokens",
                "cached_tokens",
                "prompt_cache_hit_tokens",
                "cache_read_input_tokens",
                "cache_creation_input_tokens",
                "reasoning_tokens",
            ),
            counts,
        ),
        "prompt_tokens_details": st.none()
        | st.fixed_dictionaries({}, optional=dict.fromkeys(("cached_tokens", "cache_write_tokens"), counts)),
        "completion_tokens_details": st.none() | st.fixed_dictionaries({}, optional={"reasoning_tokens": counts}),
    },
)
whole = st.integers(-10, 10**6) | st.integers(-(2**70), 2**70)


@given(
    st.sampled_from(URLS),
    fields,
    whole,
    whole,
    st.sampled_from((("prompt_tokens", "completion_tokens"), ("input_tokens", "output_tokens"))),
)
@example(OPENAI, {"prompt_tokens_details": {"cached_tokens": 500}}, 100, 1, ("prompt_tokens", "completion_tokens"))
def test_parts_never_exceed_the_whole(
    url: str, more: dict[str, Any], prompt: int, completion: int, names: tuple[str, str]
) -> None:
    """Whatever numbers a provider sends, none is negative, and what was cached and written fits into the input."""
    usage = reader_for(None, url).read({**more, names[0]: prompt, names[1]: completion})
    assert min(usage.input_tokens, usage.cached_input_tokens, usage.cache_write_tokens, usage.output_tokens) >= 0
    assert usage.cached_input_tokens + usage.cache_write_tokens <= usage.input_tokens
    assert max(usage.input_tokens, usage.output_tokens) < 2**63


@pytest.mark.parametrize("sent", [{}, {"prompt_tokens": "x"}, {"prompt_tokens": 1}, {"total_tokens": 5}])
def test_what_is_no_usage_is_refused(sent: dict[str, Any]) -> None:
    """Usage that lacks what it must have is no zero."""
    for url in URLS:
        with pytest.raises((ValueError, TypeError, KeyError)):
            reader_for(None, url).read(sent)
