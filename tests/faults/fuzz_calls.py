"""Fires malformed, oversize and random calls at one service: `python -m tests.faults.fuzz_calls --help`."""

import argparse
import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import grpc

from tests.faults.fuzz_bytes import payload
from tests.faults.fuzz_keys import Keys
from tests.faults.fuzz_seeds import SEEDS

OVERSIZE = 64 * 1024  # what the servers under fuzz are told to take at most
IN_FLIGHT = 48
NEVER = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS)
_KEY = "abcdefghijklmnopqrstuvwxyz0123456789-_."
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))
_KNOWN_KEYS = ("x-request-id", "authorization", "x-api-key", "traceparent", "tracestate", "x-tenant", "baggage")


@dataclass(frozen=True)
class Shot:
    """One call: what it sends, and when its caller gives up."""

    path: str
    payload: bytes
    metadata: tuple[tuple[str, str | bytes], ...]
    timeout_s: float
    cancel_after_s: float | None


@dataclass
class Report:
    """How the calls ended: how many with each code, and the first that must not end so."""

    codes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0


def shot(service: str, seed: int, number: int, keys: Keys | None = None) -> Shot:
    """The call with this number: the same each time but for the keys, so that one can be fired again alone."""
    rng = random.Random(seed << 40 | number)
    method, message = rng.choice(sorted(SEEDS[service].items()))
    path = f"/{service}/{method}" if rng.random() < 0.96 else _wrong_path(service, method, rng)
    return Shot(
        path,
        payload(message, rng, OVERSIZE),
        (*(_metadata(rng) if rng.random() < 0.3 else ()), *(keys.shown(rng) if keys else ())),
        rng.choice((0.001, 0.01, 0.05)) if rng.random() < 0.05 else 30.0,
        rng.random() * 0.02 if rng.random() < 0.03 else None,
    )


async def fire(
    address: str,
    service: str,
    numbers: Iterable[int],
    seed: int = 0,
    at: Callable[[int], None] | None = None,
    keys: Keys | None = None,
) -> Report:
    """Makes these calls, IN_FLIGHT at once; `at` is told each number as it begins; `keys` are shown, good and bad."""
    report = Report()
    begin = time.perf_counter()
    waiting = iter(numbers)
    options = [("grpc.enable_retries", 0), ("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:

        async def worker() -> None:
            for number in waiting:
                if at:
                    at(number)
                one = shot(service, seed, number, keys)
                await _call(
                    channel, one, report, f"{service} seed {seed} number {number}", keys.secrets if keys else ()
                )

        await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    report.seconds = time.perf_counter() - begin
    return report


async def _call(channel: grpc.aio.Channel, one: Shot, report: Report, name: str, secrets: tuple[str, ...]) -> None:
    method: Any = channel.unary_stream(one.path)  # no serialisers: bytes as they are
    call = method(one.payload, timeout=one.timeout_s, metadata=one.metadata)
    later = asyncio.get_running_loop().call_later(one.cancel_after_s, call.cancel) if one.cancel_after_s else None
    try:
        async for _ in call:
            pass
        code, details = grpc.StatusCode.OK, ""
    except grpc.aio.AioRpcError as error:
        code, details = error.code(), f"{error.details()} {error.trailing_metadata()!r}"
    except asyncio.CancelledError:  # the way grpc.aio says that call.cancel() worked
        if not call.cancelled():
            raise
        code, details = grpc.StatusCode.CANCELLED, ""
    finally:
        if later:
            later.cancel()
    report.codes[code.name] += 1
    tells = any(secret in details for secret in secrets)
    if (code in NEVER or tells) and len(report.wrong) < 10:
        report.wrong.append(f"{name}: {one.path} {one.payload[:200]!r} {one.metadata!r}: {code.name} {details}")


def _wrong_path(service: str, method: str, rng: random.Random) -> str:
    other = rng.choice(sorted(SEEDS))
    return rng.choice(
        (
            f"/{service}/Nothing",
            f"/{service}/{method.lower()}",
            f"/{service}/",
            f"/{service}",
            f"/{service}/{method}/{method}",
            f"//{service}/{method}",
            f"/{other}x/{method}",
            "/fulcrum.",
            "/fulcrum./x",
            "/",
            f"/{'a' * rng.choice((10, 3000))}/b",
            "/grpc.health.v1.Health/Check",
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        )
    )


def _metadata(rng: random.Random) -> tuple[tuple[str, str | bytes], ...]:
    """Random, huge and binary metadata, of keys that mean something here and of others."""
    found: list[tuple[str, str | bytes]] = []
    for _ in range(rng.choice((1, 2, 5, 60))):
        key = rng.choice(_KNOWN_KEYS) if rng.random() < 0.5 else "k" + "".join(rng.choices(_KEY, k=rng.randint(1, 20)))
        size = rng.choice((0, 1, 20, 200)) if rng.random() < 0.98 else rng.choice((4_000, 20_000))
        if rng.random() < 0.3:
            found.append((f"{key.rstrip('-_.')}-bin", rng.randbytes(size)))
        else:
            found.append((key.removesuffix("-bin"), "".join(rng.choices(_PRINTABLE, k=size)).strip()))
    return tuple((key, value) for key, value in found if not key.startswith("grpc-"))


def main() -> None:
    """Fires from the command line and prints how the calls ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True, help="host:port of a server that nobody needs")
    parser.add_argument("--service", required=True, choices=sorted(SEEDS))
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first call")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    numbers = range(given.first, given.first + given.messages)
    report = asyncio.run(fire(given.address, given.service, numbers, given.seed))
    print(f"{given.messages} calls in {report.seconds:.1f} s: {dict(report.codes)}")
    print("\n".join(report.wrong))
    raise SystemExit(bool(report.wrong))


if __name__ == "__main__":
    main()
