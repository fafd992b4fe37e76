"""Runs a decoder on this machine, one request at a time, in a thread that never waits for the event loop."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import TypeVar, cast

from services.chassis.errors import FailedPrecondition, InvalidField, Unavailable
from services.executor.admission import Admission
from services.executor.chat_text import ChatText
from services.executor.decoder_session import DecoderSession
from services.executor.engine import (
    Event,
    Finish,
    FinishReason,
    GenerateRequest,
    ModelInfo,
    ModelKind,
    ModelState,
    Spent,
    TextDelta,
    Timing,
)
from services.executor.generation import Generation
from services.executor.models.checkpoint import InvalidCheckpoint
from services.executor.models.onnx_linear import DECODER_LINEARS
from services.executor.settings import LocalModel

THREADS = 2  # one for the answer under way, one for the prompts of those that wait
T = TypeVar("T")


class OnnxEngine:
    """One decoder.

    Args:
        name: our name of the model.
        model: where it lies and how it runs.
    """

    def __init__(self, name: str, model: LocalModel) -> None:
        self._name = name
        self._model = model
        self._state = ModelState.LOADING
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix=name)
        self._admission = Admission(f"model {name}", 1, model.waiting_limit)
        self._session: DecoderSession
        self._text: ChatText

    @property
    def info(self) -> ModelInfo:
        """Context and digest are known once it is ready."""
        ready = self._state is ModelState.READY
        return ModelInfo(
            name=self._name,
            kind=ModelKind.LOCAL,
            state=self._state,
            context_tokens=self._session.context_tokens if ready else 0,
            precision=self._model.precision,
            digest=self._session.digest if ready else "",
            supports_tools=False,
            waiting=self._admission.waiting,
        )

    async def start(self) -> None:
        """Loads the folder and runs one short prompt."""
        try:
            await self._in_thread(self._load)
        except (InvalidCheckpoint, OSError):
            self._state = ModelState.FAILED
            raise
        self._state = ModelState.READY

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Event, None]:
        """See `Engine`; the place in the engine is free again before the last event."""
        arrived = time.perf_counter()
        self._refuse_what_it_cannot(request)
        prompt = await self._in_thread(self._text.encode, request.messages)
        generation = self._begin(prompt, request)
        first_text: float | None = None
        async with self._admission.place():
            admitted = time.perf_counter()
            async with aclosing(self._texts(generation)) as texts:
                async for text in texts:
                    first_text = first_text or time.perf_counter()
                    yield text
        ended = time.perf_counter()
        timing = Timing(admitted - arrived, (first_text or ended) - arrived, ended - arrived, generation.machine_s)
        yield Finish(cast(FinishReason, generation.reason), generation.usage, timing, generation.mean_logprob)

    async def _texts(self, generation: Generation) -> AsyncGenerator[TextDelta, None]:
        """Texts as the model's thread gives them; left early, it ends that thread's work within one step."""
        texts: asyncio.Queue[TextDelta | None] = asyncio.Queue()  # as many as the answer has tokens, at most
        loop, left = asyncio.get_running_loop(), threading.Event()

        def drive() -> None:
            try:
                while generation.reason is None and not left.is_set():
                    if text := generation.step(self._session):
                        delta = TextDelta(text, Spent(generation.usage, generation.machine_s))
                        loop.call_soon_threadsafe(texts.put_nowait, delta)
            finally:
                loop.call_soon_threadsafe(texts.put_nowait, None)

        driving = loop.run_in_executor(self._threads, drive)
        try:
            while text := await texts.get():
                yield text
            await driving
        finally:
            left.set()
            await asyncio.wait([driving])

    async def close(self) -> None:
        """Waits for the step under way."""
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)

    def _load(self) -> None:
        self._text = ChatText(self._model.folder)
        linear = DECODER_LINEARS[self._model.precision]
        self._session = DecoderSession(self._model.folder, linear, self._model.threads, self._model.context_tokens)
        self._session.logits_after([0, 0], 0)
        self._session.logits_after([0], 2)

    def _refuse_what_it_cannot(self, request: GenerateRequest) -> None:
        if self._state is not ModelState.READY:
            reason = "STARTING" if self._state is ModelState.LOADING else None
            raise Unavailable(f"model {self._name}", self._state.value, "ready", reason=reason, retry_after_s=1.0)
        turns = sum(message.role == "tool" or bool(message.tool_calls) for message in request.messages)
        if request.tools or turns:
            found = f"{len(request.tools)} tools and {turns} tool turns"
            raise FailedPrecondition("tools", found, "a model that supports tools")

    def _begin(self, prompt: list[int], request: GenerateRequest) -> Generation:
        room = self._session.context_tokens - len(prompt)
        if room < 1 or not prompt:
            expected = f"1 to {self._session.context_tokens - 1} tokens"
            raise InvalidField("messages", f"{len(prompt)} tokens", expected, reason="PROMPT_TOO_LONG")
        limit = min(room, request.sampling.max_output_tokens or room)
        return Generation(prompt, limit, request.sampling, self._text.tokenizer, self._text.end_tokens)

    async def _in_thread(self, call: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)
