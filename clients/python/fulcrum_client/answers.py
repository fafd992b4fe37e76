"""Answers, whole or as they come: text, function calls, and the receipt that ends them."""

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import grpc
from fulcrum.edge.v1 import edge_service_pb2 as edge_pb
from fulcrum.edge.v1 import receipt_pb2
from fulcrum.executor.v1 import chat_pb2

from fulcrum_client.errors import InternalError


@dataclass(frozen=True)
class ToolCall:
    """A function that the model asks for; `arguments_json` is JSON text."""

    call_id: str
    name: str
    arguments_json: str


@dataclass(frozen=True)
class Answer:
    """A whole answer; `receipt` and `logprobs` are the contract's, these where they were asked for."""

    text: str
    receipt: receipt_pb2.Receipt
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[chat_pb2.TokenLogprob, ...] = ()


class Reading:
    """An answer as far as it has come: what Stream and AsyncStream share."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._calls: dict[int, ToolCall] = {}
        self._logprobs: list[chat_pb2.TokenLogprob] = []
        self._receipt: receipt_pb2.Receipt | None = None

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._pieces)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The function calls so far, in their order."""
        return tuple(call for _, call in sorted(self._calls.items()))

    @property
    def logprobs(self) -> tuple[chat_pb2.TokenLogprob, ...]:
        """Probabilities of the tokens so far, where they were asked for."""
        return tuple(self._logprobs)

    @property
    def receipt(self) -> receipt_pb2.Receipt:
        """The receipt, once the last piece has been read.

        Raises:
            RuntimeError: the stream has not been read to its end.
        """
        if self._receipt is None:
            raise RuntimeError("receipt: the stream has not been read to its end")
        return self._receipt

    @property
    def answer(self) -> Answer:
        """The whole answer, once the last piece has been read."""
        return Answer(self.text, self.receipt, self.tool_calls, self.logprobs)

    def take(self, event: edge_pb.CompleteResponse) -> str:
        """Adds an event; its text, empty where it brings none."""
        match event.WhichOneof("event"):
            case "text_delta":
                self._pieces.append(event.text_delta.text)
                self._logprobs += event.text_delta.logprobs
                return event.text_delta.text
            case "tool_call_delta":
                new = event.tool_call_delta
                old = self._calls.get(new.index, ToolCall("", "", ""))
                arguments = old.arguments_json + new.arguments_json
                self._calls[new.index] = ToolCall(new.call_id or old.call_id, new.name or old.name, arguments)
            case "receipt":
                self._receipt = event.receipt
        return ""  # also for an event that a newer server sends

    def end(self) -> None:
        """Checks that the stream ended as its contract says."""
        if self._receipt is None:
            raise InternalError(grpc.StatusCode.INTERNAL, "the stream ended without a receipt", expected="a receipt")


class Stream(Reading):
    """Pieces of text as they come; leave the `with` block, or `close()`, to cancel what is left."""

    def __init__(self, events: Generator[edge_pb.CompleteResponse, None, None]) -> None:
        super().__init__()
        self._events = events

    def __iter__(self) -> Iterator[str]:
        for event in self._events:
            if piece := self.take(event):
                yield piece
        self.end()

    def close(self) -> None:
        """Cancels what is left; the suite stops the model."""
        self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class AsyncStream(Reading):
    """Stream for coroutines."""

    def __init__(self, events: AsyncGenerator[edge_pb.CompleteResponse, None]) -> None:
        super().__init__()
        self._events = events

    async def __aiter__(self) -> AsyncIterator[str]:
        async for event in self._events:
            if piece := self.take(event):
                yield piece
        self.end()

    async def aclose(self) -> None:
        """Cancels what is left; the suite stops the model."""
        await self._events.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.aclose()
