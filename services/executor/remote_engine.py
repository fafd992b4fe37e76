"""Runs a model on any server that speaks OpenAI's chat completions over HTTP."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import httpx

from services.chassis.errors import FailedPrecondition, Unavailable
from services.executor.admission import Admission
from services.executor.constraint import FIELD
from services.executor.engine import Event, Finish, GenerateRequest, ModelInfo, ModelKind, ModelState, Timing
from services.executor.openai_chat import ChunkReader, request_body
from services.executor.remote_errors import error_of_failure, error_of_status
from services.executor.settings import RemoteModel
from services.executor.sse import EventReader
from services.executor.token_usage import UsageReader

LARGEST_ERROR_BYTES = 65_536


class RemoteEngine:
    """One model on one server.

    Args:
        name: our name of the model.
        model: where it is.
        key: sent as a bearer token, if any; never logged.
        usage: reads what the server says of tokens.
    """

    def __init__(self, name: str, model: RemoteModel, key: str | None, usage: UsageReader) -> None:
        self._name = name
        self._model = model
        self._key = key
        self._usage = usage
        self._admission = Admission(f"model {name}", model.places, model.waiting_limit)
        self._client: httpx.AsyncClient | None = None

    @property
    def info(self) -> ModelInfo:
        """Ready from the start: whether the server answers shows with the first request."""
        return ModelInfo(
            name=self._name,
            kind=ModelKind.REMOTE,
            state=ModelState.READY if self._client else ModelState.LOADING,
            context_tokens=self._model.context_tokens,
            precision="",
            digest="",
            supports_tools=self._model.supports_tools,
            supports_json_schema=self._model.supports_json_schema,
            supports_logprobs=self._model.supports_logprobs,
            provider=self._usage.provider,
            waiting=self._admission.waiting,
        )

    async def start(self) -> None:
        """Opens the connection pool; connects to nothing yet."""
        read, connect = self._model.read_timeout_s, self._model.connect_timeout_s
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=httpx.Timeout(read, connect=connect),
            limits=httpx.Limits(max_connections=self._model.places, max_keepalive_connections=self._model.places),
        )

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Event, None]:
        """See `Engine`; closing it closes the connection, which is how such servers are told to stop."""
        arrived = time.perf_counter()
        if self._client is None:
            raise Unavailable(f"model {self._name}", "not started", "ready", reason="STARTING", retry_after_s=1.0)
        self._refuse_what_it_cannot(request)
        model = self._model
        body = request_body(request, model.model or self._name, model.output_limit_field, model.reasoning_effort)
        reader, first = ChunkReader(self._usage), 0.0
        async with self._admission.place():
            admitted = time.perf_counter()
            async with aclosing(self._stream(self._client, body, reader)) as events:
                async for event in events:
                    first = first or time.perf_counter()
                    yield event
        yield self._finish(reader, arrived, admitted, first)

    async def close(self) -> None:
        """Closes every connection."""
        if self._client:
            await self._client.aclose()

    def _refuse_what_it_cannot(self, request: GenerateRequest) -> None:
        sampling = request.sampling
        if request.tools and not self._model.supports_tools:
            raise FailedPrecondition("tools", f"{len(request.tools)} tools", "a model that supports tools")
        if sampling.json_schema is not None and not self._model.supports_json_schema:
            raise FailedPrecondition(FIELD, "a schema", "a model that supports them")
        if sampling.top_logprobs is not None and not self._model.supports_logprobs:
            raise FailedPrecondition("sampling.top_logprobs", sampling.top_logprobs, "a model that tells them")

    async def _stream(
        self, client: httpx.AsyncClient, body: dict[str, object], reader: ChunkReader
    ) -> AsyncGenerator[Event, None]:
        url = f"{self._model.base_url.rstrip('/')}/chat/completions"
        try:
            async with client.stream("POST", url, json=body) as response:
                if response.status_code != httpx.codes.OK:
                    start = await _beginning(response)
                    key = self._model.api_key_env
                    raise error_of_status(self._name, response.status_code, response.headers, start, key)
                lines = EventReader()
                async for chunk in response.aiter_bytes():  # to the very end, so that the connection is used again
                    for data in lines.feed(chunk):
                        for event in reader.read(data):
                            yield event
        except httpx.HTTPError as error:
            raise error_of_failure(self._name, error) from error

    def _finish(self, reader: ChunkReader, arrived: float, admitted: float, first: float) -> Finish:
        if reader.reason is None:
            raise Unavailable(f"provider of {self._name}", "a stream that ended early", "a finish reason")
        ended = time.perf_counter()
        timing = Timing(admitted - arrived, (first or ended) - arrived, ended - arrived, 0.0)
        return Finish(reader.reason, reader.usage, timing, None)


async def _beginning(response: httpx.Response) -> bytes:
    """The first part of an error's body, whatever its length."""
    found = b""
    async for chunk in response.aiter_bytes():
        found += chunk
        if len(found) >= LARGEST_ERROR_BYTES:
            break
    return found[:LARGEST_ERROR_BYTES]
