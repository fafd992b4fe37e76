"""`fulcrum cache reembed`: gives the entries of a running cache the vectors of another encoder, no faster than told."""

import argparse
import asyncio
import time
from collections.abc import Sequence

from fulcrum.cache.v1 import cache_service_pb2 as pb

from services.chassis.errors import Overloaded
from services.cli.asking import suite
from services.cli.client import Client

_BATCH = 32  # entries embedded at once
_PROBE = "Which encoder is this?"


async def reembed(asked: Client, arguments: argparse.Namespace) -> None:
    """Embeds what has no vector of the encoder yet, a batch at a time; the cache says what is left, so none is lost."""
    where = argparse.Namespace(**(vars(arguments) | {"address": arguments.encoder or arguments.address}))
    async with suite(where) as encoder:
        (probe,) = await encoder.embed([_PROBE])
        embedded = left = 0
        token = ""
        while True:
            begin = time.monotonic()
            page = await asked.without(probe.encoder_digest, token, _BATCH)
            if not page.entries:
                break
            try:
                done = await _batch(asked, encoder, page.entries)
            except Overloaded as error:  # requests come first
                await asyncio.sleep(error.retry_after_s or 1.0)
                continue
            embedded, left, token = embedded + done.embedded, left + done.left, page.next_page_token
            await asyncio.sleep(max(len(page.entries) / arguments.rate - (time.monotonic() - begin), 0))
    print(f"{embedded} entries embedded by {probe.encoder_digest[:16]}, {left} left: too long, or gone meanwhile")


async def _batch(cache: Client, encoder: Client, entries: Sequence[pb.StoredEntry]) -> pb.EmbedEntriesResponse:
    embeddings = await encoder.embed([one.entry.text for one in entries])
    vectors = [
        pb.EntryVector(scope=one.scope, entry_id=one.entry.entry_id, embedding=embedding)
        for one, embedding in zip(entries, embeddings, strict=True)
    ]
    return await cache.give_vectors(pb.EmbedEntriesRequest(vectors=vectors))
