"""What the whole engine adds to its graph, and what a known prefix spares it: a part of benchmarks.executor."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.executor.engine import Finish, GenerateRequest, Message, Sampling, TextDelta
from services.executor.models.checkpoint import open_checkpoint
from services.executor.models.decoder import decoder_shape
from services.executor.models.onnx_emitter import (
    ENDS,
    LAST_POSITIONS,
    LOGITS,
    NEW_LENGTHS,
    ORIGINS,
    PLACES,
    TOKENS,
    decoder_graph,
    memory_names,
)
from services.executor.models.onnx_linear import DECODER_LINEARS
from services.executor.onnx_engine import OnnxEngine
from services.executor.onnx_session import OnnxSession
from services.executor.settings import LocalModel

PREFIX_TOKENS, OWN_TOKENS, SHORT_PROMPT, ANSWER = 1000, 8, 16, 48
PRECISION = "int8"


@dataclass(frozen=True)
class EngineFigures:
    """`overhead` is the engine's seconds a token over the graph's, less 1; `weight_bytes` are read for each token."""

    overhead: float
    first_token_ratio: float
    weight_bytes: int


async def engine_figures(
    folder: Path, threads: int, rounds: int, context: int, tell: Callable[[str], None]
) -> EngineFigures:
    """Measures in turns, best of `rounds`; raises AssertionError where a known prefix changes the text."""
    bare = BareDecoder(folder, threads, context)
    model = LocalModel(
        folder=folder, precision=PRECISION, threads=threads, context_tokens=context, places=4, prefix_memory_mb=512
    )
    engine = OnnxEngine("random", model)
    await engine.start()
    whole, graph, warm, cold = [], [], [], []
    for number in range(rounds):
        whole.append(await seconds_a_token(engine, number))
        graph.append(bare.seconds_a_token())
        tell(f"round {number + 1} of {rounds}: {1e3 * whole[-1]:.2f} ms a token, {1e3 * graph[-1]:.2f} bare")
    for number in range(-1, rounds):
        prompt = words(PREFIX_TOKENS, 0) + words(OWN_TOKENS, 1 + number)
        unknown_text, unknown = await answer(engine, prompt, f"new {number}", OWN_TOKENS)
        known_text, known = await answer(engine, prompt, "same", OWN_TOKENS)
        assert known_text == unknown_text, "a known prefix changed the text"
        if number >= 0:  # before, the prefix was new to both
            cold.append(unknown.timing.first_token_s)
            warm.append(known.timing.first_token_s)
            tell(
                f"round {number + 1} of {rounds}: first token {cold[-1]:.2f} s, with its prefix known {warm[-1]:.3f} s"
            )
    await engine.close()
    return EngineFigures(min(whole) / min(graph) - 1, min(warm) / min(cold), bare.weight_bytes)


async def seconds_a_token(engine: OnnxEngine, seed: int) -> float:
    """Between the first token of an answer and its last."""
    _, end = await answer(engine, words(SHORT_PROMPT, seed), "", ANSWER)
    return (end.timing.total_s - end.timing.first_token_s) / (ANSWER - 1)


async def answer(engine: OnnxEngine, prompt: str, tenant: str, tokens: int) -> tuple[str, Finish]:
    """The text and how it ended."""
    request = GenerateRequest("random", (Message("user", prompt),), Sampling(max_output_tokens=tokens), tenant=tenant)
    events = [event async for event in engine.generate(request)]
    end = events[-1]
    assert isinstance(end, Finish)
    return "".join(event.text for event in events if isinstance(event, TextDelta)), end


def words(count: int, seed: int) -> str:
    """As many tokens, each followed by a space."""
    return "".join(f"w{token} " for token in np.random.default_rng(seed).integers(1, 100_000, count))


class BareDecoder:
    """The same graph, fed one token after another with nothing around it."""

    def __init__(self, folder: Path, threads: int, context: int) -> None:
        checkpoint = open_checkpoint(folder)
        shape = decoder_shape(checkpoint, context)
        attention = shape.attention
        graph = decoder_graph(checkpoint, shape, DECODER_LINEARS[PRECISION])
        table = shape.vocabulary * shape.hidden * 4  # of which a token reads one row
        self.weight_bytes = sum(constant.nbytes for constant in graph.constants.values()) - table
        buffer = (1, attention.kv_heads, context, attention.head_dim)
        memory = {names: np.zeros(buffer, np.float32) for names in memory_names(shape.layers)}
        self._session = OnnxSession(graph, LOGITS, threads, memory)

    def seconds_a_token(self) -> float:
        """Over as many passes as the engine's answer has after its first token."""
        zero: NDArray[Any] = np.zeros(1, np.int64)
        begin = time.perf_counter()
        for position in range(SHORT_PROMPT, SHORT_PROMPT + ANSWER - 1):
            feeds = {TOKENS: zero, PLACES: zero[None], ORIGINS: zero, ENDS: zero}
            lengths = {NEW_LENGTHS: np.ones(1, np.int32), LAST_POSITIONS: np.array([position], np.int32)}
            self._session.run(feeds | lengths, 1)
        return (time.perf_counter() - begin) / (ANSWER - 1)
