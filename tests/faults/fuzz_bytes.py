"""What no caller should send: bytes made from the contracts' descriptors, from nearly valid to noise."""

import random
import struct
from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

_VARINT, _FIXED64, _BYTES, _GROUP, _END, _FIXED32 = range(6)
_FLOATS = (0.0, -0.0, 1.0, -1.0, 0.02, 1e308, -1e308, 5e-324, float("nan"), float("inf"), float("-inf"))
_INTEGERS = (
    0,
    1,
    2,
    3,
    100,
    2**31 - 1,
    2**31,
    2**32 - 1,
    253_402_300_799,
    315_576_000_000,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
_BAD_TEXTS = (
    b"\xff\xfe",  # no UTF-8
    b"\xed\xa0\x80",  # a lone surrogate
    b"\xc0\x80",  # an overlong zero
)
_TEXTS = (
    b"",
    b"x",
    b"fulcrum-small",
    b"What is the capital of Norway?",
    b"\x00\n\r\t\x1b[31m",
    "😀\u202e\ufeffé".encode(),
    b"{{ messages }} %s %n ${x} ../../../etc/passwd' OR 1=1 --",
    b"a" * 300,
)
_KINDS = {
    FieldDescriptor.TYPE_DOUBLE: _FIXED64,
    FieldDescriptor.TYPE_FIXED64: _FIXED64,
    FieldDescriptor.TYPE_SFIXED64: _FIXED64,
    FieldDescriptor.TYPE_FLOAT: _FIXED32,
    FieldDescriptor.TYPE_FIXED32: _FIXED32,
    FieldDescriptor.TYPE_SFIXED32: _FIXED32,
    FieldDescriptor.TYPE_STRING: _BYTES,
    FieldDescriptor.TYPE_BYTES: _BYTES,
    FieldDescriptor.TYPE_MESSAGE: _BYTES,
}


def varint(value: int) -> bytes:
    """The wire form of an unsigned integer."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def payload(seed: Message, rng: random.Random, oversize: int) -> bytes:
    """One message's bytes: in turn noise, damaged, odd, deep, too large, or the seed as it is.

    Args:
        seed: a message that its contract takes.
        rng: decides everything.
        oversize: bytes from which a message is larger than its server takes.
    """
    kinds, weights = zip(*_PAYLOADS.items(), strict=True)
    make: Callable[[Message, random.Random, int], bytes] = rng.choices(kinds, weights)[0]
    return make(seed, rng, oversize)


def _noise(_: Message, rng: random.Random, __: int) -> bytes:
    return rng.randbytes(int(rng.expovariate(1 / 60)))


def _damaged(seed: Message, rng: random.Random, _: int) -> bytes:
    """Cut short, bits flipped, a slice gone, doubled or replaced."""
    data = bytearray(seed.SerializeToString())
    for _damage in range(rng.randint(1, 4)):
        begin = rng.randint(0, len(data))
        end = rng.randint(begin, min(len(data), begin + 20))
        match rng.randrange(5):
            case 0:
                del data[begin:]
            case 1 if data:
                data[begin % len(data)] ^= 1 << rng.randrange(8)
            case 2:
                del data[begin:end]
            case 3:
                data[begin:begin] = data[begin:end]
            case _:
                data[begin:end] = rng.randbytes(end - begin)
    return bytes(data)


def _odd(seed: Message, rng: random.Random, _: int) -> bytes:
    """The seed with fields set anew: on the wire the last one counts, and messages merge."""
    return seed.SerializeToString() + _fields(seed.DESCRIPTOR, rng, rng.randint(1, 3), 0)


def _made_up(seed: Message, rng: random.Random, _: int) -> bytes:
    return _fields(seed.DESCRIPTOR, rng, rng.randint(1, 8), 0)


def _deep(seed: Message, rng: random.Random, _: int) -> bytes:
    """Groups or messages nested past every recursion limit."""
    depth = rng.choice((50, 99, 100, 101, 500, 5000))
    if rng.random() < 0.5:
        begin, end = varint(999 << 3 | _GROUP), varint(999 << 3 | _END)
        return seed.SerializeToString() + begin * depth + end * rng.choice((depth, depth - 1, 0))
    inner = b""
    for _level in range(min(depth, 500)):
        inner = varint(1 << 3 | _BYTES) + varint(len(inner)) + inner
    return inner


def _absurd_length(seed: Message, rng: random.Random, _: int) -> bytes:
    """A field that claims more bytes than there are, or than there can be."""
    number = rng.choice([field.number for field in seed.DESCRIPTOR.fields] or [1])
    claimed = rng.choice((1000, 2**31 - 1, 2**32, 2**62, 2**64 - 1))
    return seed.SerializeToString() + varint(number << 3 | _BYTES) + varint(claimed) + rng.randbytes(8)


def _oversize(seed: Message, rng: random.Random, oversize: int) -> bytes:
    """A field that nobody knows makes it large, up to and beyond what the transport takes."""
    size = int(oversize * rng.choice((1.0, 1.1, 2, 3.9, 4.1, 6)))
    return seed.SerializeToString() + varint(998 << 3 | _BYTES) + varint(size) + bytes(size)


def _as_it_is(seed: Message, _: random.Random, __: int) -> bytes:
    return seed.SerializeToString()


_PAYLOADS: dict[Callable[[Message, random.Random, int], bytes], float] = {
    _noise: 8,
    _damaged: 22,
    _odd: 40,
    _made_up: 15,
    _deep: 3,
    _absurd_length: 4,
    _oversize: 1,
    _as_it_is: 7,
}


def _fields(descriptor: Any, rng: random.Random, count: int, depth: int) -> bytes:
    if not descriptor.fields:
        return varint(7 << 3) + varint(rng.choice(_INTEGERS))
    out = b""
    for field in rng.choices(descriptor.fields, k=count):
        number, kind = field.number, _KINDS.get(field.type, _VARINT)
        if rng.random() < 0.02:
            number = rng.choice((0, 1000, 19_500, 2**29 - 1, 2**32))  # unknown, reserved or impossible
        if rng.random() < 0.02:
            kind = rng.randrange(8)  # not the wire type of this field; 6 and 7 are none
        out += varint(number << 3 | kind) + _value(field, kind, rng, depth) * (1 if rng.random() < 0.95 else 200)
    return out


def _value(field: FieldDescriptor, kind: int, rng: random.Random, depth: int) -> bytes:
    if kind == _BYTES:
        if field.message_type is not None and depth < 4:
            inner = _fields(field.message_type, rng, rng.randint(0, 4), depth + 1)
        else:
            inner = _text(field, rng)
        return varint(len(inner)) + inner
    if kind == _FIXED64:
        return struct.pack("<d", rng.choice(_FLOATS))
    if kind == _FIXED32:
        return struct.pack("<f", rng.choice((0.0, 1.0, float("nan"), float("inf"))))
    return varint(rng.choice(_INTEGERS)) if rng.random() < 0.98 else b"\xff" * 11


def _text(field: FieldDescriptor, rng: random.Random) -> bytes:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return rng.randbytes(rng.choice((0, 4, 16, 32, 64, 1536)))
    return rng.choice(_BAD_TEXTS if rng.random() < 0.04 else _TEXTS)
