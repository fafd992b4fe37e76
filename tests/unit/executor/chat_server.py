"""A chat completions server over a real socket, which answers each request with the bytes a test prepares."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

Reply = Callable[[asyncio.StreamWriter], Any]


@dataclass
class ChatServer:
    """Where it listens, what it was asked, and how it replies."""

    base_url: str = ""
    reply: Reply | None = None
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    connections: int = 0
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    serving: set[asyncio.Task[Any]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Requests of one connection, one after the other."""
        self.connections += 1
        task = asyncio.current_task()
        assert task
        self.serving.add(task)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")
                headers = {key.lower(): value for key, _, value in (line.partition(": ") for line in lines[1:] if line)}
                body = await reader.readexactly(int(headers["content-length"]))
                assert lines[0] == "POST /v1/chat/completions HTTP/1.1"
                self.headers.append(headers)
                self.bodies.append(json.loads(body))
                assert self.reply
                await self.reply(writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.hung_up.set()
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            self.serving.discard(task)
            writer.close()


@asynccontextmanager
async def chat_server() -> AsyncIterator[ChatServer]:
    """A running server on a free port of 127.0.0.1."""
    server = ChatServer()
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.base_url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1/"
    try:
        yield server
    finally:
        listener.close()
        for task in server.serving:
            task.cancel()
        await asyncio.gather(*server.serving, return_exceptions=True)


def streaming(pieces: Sequence[bytes], end: str = "whole", pause_s: float = 0.0) -> Reply:
    """Status 200 and the pieces as they are, each a write of its own; `end` is whole, cut or hang."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for piece in pieces:
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await writer.drain()
            await asyncio.sleep(pause_s)
        if end == "hang":
            while not writer.is_closing():
                writer.write(b"1\r\n:\r\n")
                await writer.drain()
                await asyncio.sleep(0.01)
        elif end == "cut":
            writer.close()
        else:
            writer.write(b"0\r\n\r\n")

    return reply


def refusing(status: int, body: str = "", headers: str = "") -> Reply:
    """An unsuccessful answer; `headers` are whole lines."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        content = body.encode()
        writer.write(f"HTTP/1.1 {status} X\r\n{headers}content-length: {len(content)}\r\n\r\n".encode() + content)

    return reply


def event(**chunk: Any) -> bytes:
    """One server-sent event with a chunk as JSON."""
    return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n".encode()


def delta(finish_reason: str | None = None, **content: Any) -> bytes:
    """One chunk of the only choice."""
    return event(choices=[{"index": 0, "delta": content, "finish_reason": finish_reason}])


def usage(prompt: int, completion: int, cached: int | None = None) -> bytes:
    """The closing chunk with usage, and the closing mark."""
    details = {} if cached is None else {"prompt_tokens_details": {"cached_tokens": cached}}
    found = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion, **details}
    return event(choices=[], usage=found) + b"data: [DONE]\n\n"
