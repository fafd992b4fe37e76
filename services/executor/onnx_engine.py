"""Runs a decoder on this machine: the answers of many requests at once, in a thread that never waits for others."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import cast

import structlog

from services.chassis.errors import FailedPrecondition, InvalidField, Unavailable
from services.executor.chat_text import ChatText
from services.executor.constraint import FIELD, Constraint
from services.executor.decoder_backend import Decoder, open_decoder
from services.executor.decoder_loop import DecoderLoop
from services.executor.engine import (
    Event,
    Finish,
    FinishReason,
    GenerateRequest,
    MeasuredPrecision,
    ModelInfo,
    ModelKind,
    ModelState,
    Timing,
)
from services.executor.generation import Generation
from services.executor.kept_prefixes import KeptPrefixes
from services.executor.models.checkpoint import InvalidCheckpoint
from services.executor.precision_report import PrecisionReport
from services.executor.priority import give_way
from services.executor.scheduler import Scheduler
from services.executor.schema_court import SchemaCourt
from services.executor.settings import LocalModel
from services.executor.vocabulary import Vocabulary

TEXT_THREADS = 2  # prompts become tokens here, so that a long one holds up neither the model nor a short one


class OnnxEngine:
    """One decoder.

    Args:
        name: our name of the model.
        model: where it lies and how it runs.
        court: says which schemas answers may be held to; one of its own where None.
        report: of precisions on CPUs, if there is one.
    """

    def __init__(
        self, name: str, model: LocalModel, court: SchemaCourt | None = None, report: PrecisionReport | None = None
    ) -> None:
        self._name = name
        self._model = model
        self._court = court or SchemaCourt()
        self._closes_court = court is None
        self._log = structlog.get_logger("models")
        self._state = ModelState.LOADING
        self._threads = ThreadPoolExecutor(TEXT_THREADS, thread_name_prefix=name)
        self._loading = ThreadPoolExecutor(1, initializer=give_way)  # apart: what it begins inherits its priority
        self._arriving: Counter[str] = Counter()  # prompts that become tokens, by tenant
        self._held = ExitStack()
        self._precision = model.expected_precision
        self._report = report
        self._measured: Sequence[MeasuredPrecision] = ()
        self._session: Decoder
        self._text: ChatText
        self._vocabulary: Vocabulary | None = None
        self._scheduler: Scheduler[Generation]
        self._loop: DecoderLoop | None = None

    @property
    def info(self) -> ModelInfo:
        """Context and digest are known once it is ready."""
        ready = self._state is ModelState.READY
        return ModelInfo(
            name=self._name,
            kind=ModelKind.LOCAL,
            state=self._state,
            context_tokens=self._session.context_tokens if ready else 0,
            precision=self._precision,
            digest=self._session.digest if ready else "",
            supports_tools=False,
            supports_json_schema=self._vocabulary is not None,
            supports_logprobs=self._vocabulary is not None,
            waiting=self._scheduler.waiting + self._arriving.total() if ready else 0,
            kv_used=self._scheduler.used if ready else 0.0,
            measured=self._measured,
        )

    async def start(self) -> None:
        """Loads the folder, on a backend that has made its first passes."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._loading, self._load)
        except (InvalidCheckpoint, OSError):
            self._state = ModelState.FAILED
            raise
        self._loading.shutdown(wait=False)
        session, limit = self._session, self._model.waiting_limit
        if session.slots < self._model.places:
            self._log.warning(
                "fewer places than asked for",
                model=self._name,
                places=session.slots,
                asked=self._model.places,
                remedy="more kv_memory_mb, or fewer context_tokens",
            )
        keeper = KeptPrefixes(session.memory, self._model.share_prefixes)
        self._scheduler = Scheduler(f"model {self._name}", session.slots, session.context_tokens, limit, keeper)
        self._loop = DecoderLoop(self._name, session, self._scheduler, keeper, self._model.threads)
        self._state = ModelState.READY

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Event, None]:
        """See `Engine`; the slot is free again before the last event."""
        arrived = time.perf_counter()
        self._refuse_what_it_cannot(request)
        generation = await self._begin(request)
        first_text: float | None = None
        self._ready().begin(generation)
        try:
            while delta := await generation.next_text():
                first_text = first_text or time.perf_counter()
                yield delta
        finally:
            if self._loop:
                self._loop.leave(generation)
        ended = time.perf_counter()
        waited = cast(float, generation.admitted_at) - arrived
        timing = Timing(waited, (first_text or ended) - arrived, ended - arrived, generation.machine_s)
        yield Finish(cast(FinishReason, generation.reason), generation.usage, timing, generation.mean_logprob)

    async def close(self) -> None:
        """Waits for the pass under way and lets go of what was loaded; answers that are not complete then fail."""
        if self._loop:
            self._state = ModelState.UNLOADING
            await self._loop.close()
            self._state, self._loop = ModelState.UNLOADED, None
            del self._session, self._scheduler
        if self._closes_court:
            await self._court.close()
        await asyncio.to_thread(self._loading.shutdown)
        await asyncio.to_thread(self._threads.shutdown)  # prompts in line are refused: a cancelled one is told nothing
        await asyncio.to_thread(self._held.close)

    def _load(self) -> None:
        model = self._model
        self._text = ChatText(model.folder)
        self._text.check_template()
        opened = open_decoder(self._name, model)
        self._session = session = self._held.enter_context(closing(opened.decoder))
        self._precision = opened.precision
        if self._report and opened.backend == "cpu":
            self._measured = self._report.of(session.digest)
        self._text.check_vocabulary(session.vocabulary)
        self._vocabulary = self._words(session.vocabulary)

    def _words(self, size: int) -> Vocabulary | None:
        try:
            return Vocabulary(self._text.tokenizer, self._text.end_tokens, size)
        except ValueError as error:
            self._log.warning("no JSON schemas and no probabilities", model=self._name, why=str(error))
            return None

    def _ready(self) -> DecoderLoop:
        """The loop, asked for anew after each wait, in which all that is loaded may have gone."""
        if self._state is not ModelState.READY or self._loop is None:
            reason = "STARTING" if self._state is ModelState.LOADING else None
            raise Unavailable(f"model {self._name}", self._state.value, "ready", reason=reason, retry_after_s=1.0)
        return self._loop

    def _refuse_what_it_cannot(self, request: GenerateRequest) -> None:
        self._ready()
        turns = sum(message.role == "tool" or bool(message.tool_calls) for message in request.messages)
        if request.tools or turns:
            found = f"{len(request.tools)} tools and {turns} tool turns"
            raise FailedPrecondition("tools", found, "a model that supports tools")
        if self._vocabulary is None and request.sampling.json_schema is not None:
            raise FailedPrecondition(FIELD, "a schema", "a model that supports them")
        if self._vocabulary is None and request.sampling.top_logprobs is not None:
            raise FailedPrecondition("sampling.top_logprobs", request.sampling.top_logprobs, "a model that tells them")
        self._scheduler.check_room(request.tenant, self._arriving)

    async def _begin(self, request: GenerateRequest) -> Generation:
        if request.sampling.json_schema is not None:
            await self._court.check(request.sampling.json_schema, request.tenant)
            self._ready()
            self._scheduler.check_room(request.tenant, self._arriving)  # others may have come meanwhile
        self._arriving[request.tenant] += 1
        try:
            reading = asyncio.get_running_loop().run_in_executor(self._threads, self._read, request)
            prompt, constraint = await reading
        finally:
            self._arriving -= Counter((request.tenant,))
        self._ready()
        room = self._session.context_tokens - len(prompt)
        if room < 1 or not prompt:
            expected = f"1 to {self._session.context_tokens - 1} tokens"
            raise InvalidField("messages", f"{len(prompt)} tokens", expected, reason="PROMPT_TOO_LONG")
        limit = min(room, request.sampling.max_output_tokens or room)
        text = self._text
        sampling, words = request.sampling, self._vocabulary
        return Generation(request.tenant, prompt, limit, sampling, text.tokenizer, text.end_tokens, words, constraint)

    def _read(self, request: GenerateRequest) -> tuple[list[int], Constraint | None]:
        self._ready()  # it may have waited for a thread
        schema, words = request.sampling.json_schema, self._vocabulary
        constraint = Constraint(words.matcher(schema)) if words and schema is not None else None
        return self._text.encode(request.messages), constraint
