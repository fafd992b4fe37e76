"""EmbeddingService, the same on both bindings."""

import asyncio

import grpc
import numpy as np
import pytest
from fulcrum.embedding.v1 import embedding_service_pb2 as pb

from tests.wire.expect import refused
from tests.wire.suites import MAX_MESSAGE_BYTES, Suite


async def test_embeds_in_order(suite: Suite) -> None:
    """Each text gets a normalised vector of the declared dimension, in order, with one digest."""
    response = await suite.embedding.Embed(pb.EmbedRequest(texts=["a cat", "interest rates"]), timeout=30)
    vectors = [np.frombuffer(one.values, "<f4") for one in response.embeddings]
    assert [len(vector) for vector in vectors] == [384, 384]
    assert len({one.encoder_digest for one in response.embeddings}) == 1
    np.testing.assert_allclose([np.linalg.norm(vector) for vector in vectors], 1.0, atol=1e-5)
    again = await suite.embedding.Embed(pb.EmbedRequest(texts=["a cat"]), timeout=30)
    assert again.embeddings[0] == response.embeddings[0]


async def test_company_changes_no_bit(suite: Suite) -> None:
    """A text's embedding is bitwise the same alone and among concurrent requests of other lengths."""
    texts = ["one", "a somewhat longer text about nothing", "x " * 90, "what is the capital of France?"] * 4
    alone = [(await suite.embedding.Embed(pb.EmbedRequest(texts=[text]), timeout=30)).embeddings[0] for text in texts]
    calls = [suite.embedding.Embed(pb.EmbedRequest(texts=[text]), timeout=30) for text in texts]
    together = await asyncio.gather(*calls, suite.embedding.Embed(pb.EmbedRequest(texts=texts), timeout=30))
    assert [response.embeddings[0] for response in together[:-1]] == alone
    assert list(together[-1].embeddings) == alone


async def test_long_texts_are_marked(suite: Suite) -> None:
    """A text beyond the encoder's window is embedded by its beginning and says so."""
    response = await suite.embedding.Embed(pb.EmbedRequest(texts=["word " * 2000, "word"]), timeout=30)
    assert [one.truncated for one in response.embeddings] == [True, False]
    assert response.embeddings[0].token_count > 2000


async def test_refusals(suite: Suite) -> None:
    """No text, an empty text, an oversize message, an expired deadline: canonical statuses that name the field."""
    invalid, embed = grpc.StatusCode.INVALID_ARGUMENT, suite.embedding.Embed
    await refused(embed(pb.EmbedRequest(), timeout=5), invalid, "FIELD_INVALID", "texts")
    await refused(embed(pb.EmbedRequest(texts=["a", ""]), timeout=5), invalid, "FIELD_INVALID", "texts[1]")
    oversize = pb.EmbedRequest(texts=["x" * MAX_MESSAGE_BYTES])
    await refused(embed(oversize, timeout=5), grpc.StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE", "message")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await embed(pb.EmbedRequest(texts=["late"]), timeout=-1)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
