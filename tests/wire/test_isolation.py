"""Whole requests over the real cache: no answer is ever served to a request that differs in what makes an answer."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.cache.__main__ import assemble as assemble_cache
from services.cache.settings import CacheSettings
from services.chassis.server import ServerProcess
from services.chassis.settings import ServerSettings
from services.edge.bindings import CacheBinding
from services.edge.catalogue import Catalogue
from services.edge.chat import (
    CacheControl,
    Delta,
    Finish,
    FinishReason,
    Message,
    Objective,
    Request,
    Sampling,
    TextDelta,
    Tool,
    Usage,
)
from services.edge.ledger import Ledger
from services.edge.pipeline import Pipeline
from services.edge.ports import Embedding
from services.edge.receipt import Receipt
from services.edge.settings import EdgeSettings
from tests.unit.edge.parts import MemoryRouter


class SameVector:
    """An encoder to which every text is the same, so that every entry in reach is as near as can be."""

    async def embed(self, text: str) -> Embedding:
        return Embedding(np.eye(1, 8, dtype="<f4").tobytes(), 8, "ab" * 32, len(text), False)


def origin(request: Request) -> str:
    """Everything that may change an answer, the prompt's wording aside."""
    return repr((request.tenant, request.messages[:-1], request.objective, request.tools, request.sampling))


class Origin:
    """A model whose answer says for whom it was made."""

    replicas = 1

    async def generate(self, model: str, request: Request) -> AsyncGenerator[Delta | Finish, None]:
        yield TextDelta(origin(request))
        yield Finish(FinishReason.STOP, Usage(1, 0, 0, 1))


requests = st.builds(
    Request,
    request_id=st.just("r"),
    tenant=st.sampled_from(["acme", "acme ", "ACME", "local"]),
    messages=st.builds(
        lambda system, prompt: (*system, Message("user", prompt)),
        st.sampled_from([(), (Message("system", "Be brief."),), (Message("system", "Be brief. "),)]),
        st.sampled_from(["What is the capital of France?", "Tell me the capital of France."]),
    ),
    objective=st.builds(
        Objective,
        max_quality_loss=st.sampled_from([None, 0.02, 0.5]),
        allowed_models=st.sampled_from([(), ("large",), ("small", "large")]),
    ),
    tools=st.sampled_from([(), (Tool("f", "", "{}"),), (Tool("f", "", "{ }"),), (Tool("f", "{}", ""),)]),
    sampling=st.builds(
        Sampling,
        temperature=st.sampled_from([None, 0.0, 1.0]),
        seed=st.sampled_from([None, 0, 1]),
        stop=st.sampled_from([(), ("a", "b"), ("ab",)]),
    ),
)


async def answers(folder: Path, asked: list[Request]) -> list[tuple[str, str]]:
    """What each request was answered, and how the cache took part."""
    async with AsyncExitStack() as stack:
        cache = assemble_cache(CacheSettings(database=folder / "cache.sqlite"))
        await cache.start()
        stack.push_async_callback(cache.close)
        channel = ServerProcess(ServerSettings()).local_channel([cache])
        router = MemoryRouter([])
        catalogue, ledger = Catalogue(router, 60.0, None), Ledger(folder / "ledger.sqlite", False, 1)
        await ledger.start()
        stack.push_async_callback(ledger.close)
        parts = (SameVector(), CacheBinding(channel, 5.0), router, Origin(), catalogue, ledger)
        pipeline = Pipeline(EdgeSettings(), *parts)
        answered = []
        for request in asked:
            events = [event async for event in pipeline.complete(request)]
            text = "".join(event.text for event in events if isinstance(event, TextDelta))
            receipt = events[-1]
            assert isinstance(receipt, Receipt)
            answered.append((text, receipt.outcome.cache.result))
        return answered


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.lists(requests, min_size=2, max_size=12))
def test_every_answer_was_made_for_its_like(tmp_path_factory: object, asked: list[Request]) -> None:
    """Whatever was asked before, an answer names the tenant, policy, system prompt, tools and sampling of who asks."""
    folder = tmp_path_factory.mktemp("isolation")  # type: ignore[attr-defined]
    for request, (text, _) in zip(asked, asyncio.run(answers(folder, asked)), strict=True):
        assert text == origin(request)


def test_its_like_is_served(tmp_path: Path) -> None:
    """The same request again, and its paraphrase, are hits: the property above is not held by never serving."""
    prompts = ["What is the capital of France?", "What is the capital of France?", "Tell me the capital of France."]
    asked = [Request("r", "acme", (Message("user", prompt),)) for prompt in prompts]
    # For want of this one in 25 would be executed, to audit the cache.
    asked[2] = replace(asked[2], cache_control=CacheControl(only_if_cached=True))
    results = [result for _, result in asyncio.run(answers(tmp_path, asked))]
    assert results == ["miss", "exact_hit", "semantic_hit"]
