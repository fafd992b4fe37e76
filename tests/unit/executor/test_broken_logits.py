"""Logits that are no numbers never become text."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from services.chassis.errors import Internal
from services.executor.decoder_loop import DecoderLoop
from services.executor.decoder_session import Chunk, DecoderSession
from services.executor.engine import FinishReason, Sampling
from services.executor.generation import Generation
from services.executor.kept_prefixes import KeptPrefixes
from services.executor.models.onnx_linear import full_linear
from services.executor.scheduler import Scheduler
from tests.unit.executor.folders import byte_tokenizer, llama_folder

SPOILT = 7  # a token behind which nothing is a number


class Spoiling:
    """A real decoder, some of whose rows are spoilt."""

    def __init__(self, session: DecoderSession, value: float) -> None:
        self._session = session
        self._value = value

    def run(self, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        logits = self._session.run(chunks).copy()
        wanted = [chunk for chunk in chunks if chunk.wants_logits]
        logits[[row for row, chunk in enumerate(wanted) if SPOILT in chunk.tokens]] = self._value
        return logits


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("sampling", [{}, {"temperature": 1.0, "top_p": 0.9}, {"temperature": 1.0}], ids=str)
@pytest.mark.filterwarnings("ignore:invalid value")
async def test_logits_that_are_no_numbers_fail_their_answer_alone(
    tmp_path: Path, value: float, sampling: dict[str, float]
) -> None:
    """However tokens are chosen, the answer ends with an error that says so; another one goes on."""
    session = DecoderSession(llama_folder(tmp_path), full_linear, 1, slots=2, kept_bytes=100_000)
    keeper = KeptPrefixes(session.memory, shared=False)
    loop = DecoderLoop("tiny", Spoiling(session, value), Scheduler("model tiny", 2, 64, 4, keeper), keeper)
    bad, good = (
        Generation("a", [1, last], 4, Sampling(**sampling), byte_tokenizer(), frozenset())  # type: ignore[arg-type]
        for last in (SPOILT, 3)
    )
    for one in (bad, good):
        loop.begin(one)
    async with asyncio.timeout(20):
        with pytest.raises(Internal, match="logits: got 'NaN', expected numbers"):
            await bad.next_text()
        while await good.next_text():
            pass
    assert good.reason is FinishReason.LENGTH
    await loop.close()
