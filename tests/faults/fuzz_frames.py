"""What no HTTP/2 library lets one send: garbage, half frames and impossible headers, straight onto a server's port."""

import asyncio
import contextlib
import random
from collections.abc import Callable

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _PRIORITY, _RST, _SETTINGS, _PUSH, _PING, _GOAWAY, _WINDOW, _CONTINUATION = range(10)
_END_STREAM, _END_HEADERS = 0x1, 0x4
_WAIT_S = 0.5
_CREDENTIALS = (
    b"",
    b"Bearer",
    b"Bearer ",
    b"Bearer \xff\xfe\x00",
    b"Bearer fk_" + b"a" * 20_000,
    b"\xc3\xa9 fk_\r\nx-tenant: other",
)
_TIMEOUTS = (b"", b"1", b"S", b"-1S", b"99999999999999999H", b"1Z", b"0n", b"1.5S", b"\xff\xffS", b" 1S", b"00000000S")


def frame(kind: int, flags: int, stream: int, content: bytes, length: int | None = None) -> bytes:
    """One frame; `length` lies about its content's."""
    claimed = len(content) if length is None else length
    return claimed.to_bytes(3, "big") + bytes((kind & 0xFF, flags & 0xFF)) + stream.to_bytes(4, "big") + content


def headers(pairs: list[tuple[bytes, bytes]]) -> bytes:
    """A header block of literals that no table keeps (RFC 7541, 6.2.2)."""
    return b"".join(b"\x00" + _text(name) + _text(value) for name, value in pairs)


def request(path: bytes, rng: random.Random) -> list[tuple[bytes, bytes]]:
    """The headers of a gRPC call, most of them right."""
    pairs = [
        (b":method", rng.choice((b"POST", b"POST", b"POST", b"GET", b"NONSENSE", b""))),
        (b":scheme", rng.choice((b"http", b"http", b"https", b"gopher"))),
        (b":path", path if rng.random() < 0.9 else rng.randbytes(20)),
        (b":authority", rng.choice((b"localhost", b"", b"a" * 300))),
        (b"te", rng.choice((b"trailers", b"gzip"))),
        (
            b"content-type",
            rng.choice((b"application/grpc", b"application/grpc", b"application/grpc+json", b"text/html")),
        ),
        (b"grpc-timeout", rng.choice(_TIMEOUTS)),
        (b"grpc-encoding", rng.choice((b"identity", b"gzip", b"nonsense"))),
    ]
    pairs += [(rng.choice((b"X-Upper", b"x-bin", b"k\x00y", b":late", b"x-request-id")), rng.randbytes(30))]
    pairs += [(b"authorization", rng.choice((*_CREDENTIALS, rng.randbytes(40))))]
    return [pair for pair in pairs if rng.random() < 0.85]


def volley(path: bytes, rng: random.Random) -> bytes:
    """What one connection sends."""
    make: Callable[[bytes, random.Random], bytes] = rng.choice((_noise, _half, _frames, _call, _call, _flood))
    return make(path, rng)


async def shoot(host: str, port: int, content: bytes) -> None:
    """Sends it, reads for a moment what comes, and hangs up."""
    with contextlib.suppress(OSError, TimeoutError):  # a server that hangs up on this is right to
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(content)
            await writer.drain()
            async with asyncio.timeout(_WAIT_S):
                while await reader.read(1 << 16):
                    pass
        finally:
            writer.close()


def _noise(_: bytes, rng: random.Random) -> bytes:
    return rng.choice((b"", PREFACE, b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01")) + rng.randbytes(rng.randint(1, 2000))


def _half(path: bytes, rng: random.Random) -> bytes:
    whole = _call(path, rng)
    return whole[: rng.randint(1, len(whole))]


def _frames(_: bytes, rng: random.Random) -> bytes:
    """Frames of any kind, on any stream, with any content."""
    out = PREFACE + frame(_SETTINGS, 0, 0, b"")
    for _number in range(rng.randint(1, 20)):
        content = rng.randbytes(rng.choice((0, 1, 4, 5, 8, 6, 100)))
        length = rng.choice((None, None, None, 0, 2**24 - 1))
        out += frame(
            rng.randrange(12), rng.randrange(256), rng.choice((0, 1, 2, 3, 2**31 - 1, 2**32 - 1)), content, length
        )
    return out


def _call(path: bytes, rng: random.Random) -> bytes:
    """A call whose headers, and whose message's prefix, may be wrong."""
    out = PREFACE + frame(_SETTINGS, 0, 0, b"")
    content = rng.randbytes(rng.choice((0, 5, 50)))
    claimed = rng.choice((len(content), len(content), 0, 2**32 - 1, 70_000, len(content) + 1))
    message = bytes((rng.choice((0, 0, 0, 1, 255)),)) + claimed.to_bytes(4, "big") + content
    for stream in range(1, rng.choice((3, 9)), 2):
        out += frame(_HEADERS, _END_HEADERS, stream, headers(request(path, rng)))
        out += frame(_DATA, rng.choice((_END_STREAM, 0)), stream, message)
        if rng.random() < 0.2:
            out += frame(_RST, 0, stream, rng.choice((0, 8, 2**32 - 1)).to_bytes(4, "big"))
    return out


def _flood(path: bytes, rng: random.Random) -> bytes:
    """Many of what costs little to send: resets at once, pings, empty continuations, settings."""
    start = frame(_HEADERS, _END_HEADERS, 1, headers([(b":method", b"POST"), (b":path", path)]))
    many = rng.choice(
        (
            b"".join(
                start[:5] + n.to_bytes(4, "big") + start[9:] + frame(_RST, 0, n, bytes(4)) for n in range(1, 400, 2)
            ),
            frame(_PING, 0, 0, bytes(8)) * 500,
            frame(_HEADERS, 0, 1, b"") + frame(_CONTINUATION, 0, 1, b"\x00\x01a\x01b") * 500,
            frame(_SETTINGS, 0, 0, b"\x00\x03\x00\x00\x00\x01") * 200,
            frame(_WINDOW, 0, 0, b"\x7f\xff\xff\xff") * 10,
        )
    )
    return PREFACE + frame(_SETTINGS, 0, 0, b"") + many


def _text(value: bytes) -> bytes:
    size = len(value)
    if size < 127:
        return bytes((size,)) + value
    out, rest = b"\x7f", size - 127
    while rest > 127:
        out, rest = out + bytes((rest % 128 | 0x80,)), rest // 128
    return out + bytes((rest,)) + value
