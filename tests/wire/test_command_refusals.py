"""What the `fulcrum` command says of arguments it cannot use, and of addresses where no suite answers."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from benchmarks.suite_process import suite_process
from tests.certificates import Authority
from tests.wire.test_command import Ended, fulcrum, piped

KEY = "fk_" + "a" * 16 + "_" + "b" * 52
NOBODY = ("--address", "127.0.0.1:1")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("stats", "--days", "99999999"), "--days: got '99999999', expected a whole number from 1 to 36500"),
        (("stats", "--days", "0"), "--days: got '0', expected a whole number from 1"),
        (("stats", "--days", "-5"), "--days: got '-5', expected a whole number from 1"),
        (("stats", "--watch", "0"), "--watch: got '0', expected a number from 0.1"),
        (("stats", "--watch", "-1"), "--watch: got '-1', expected a number from 0.1"),
        (("stats", "--watch", "nan"), "--watch: got 'nan', expected a number from 0.1"),
        (("stats", "--tenant", "\udcff"), "--tenant: got '\\udcff', expected UTF-8"),
        (("stats", "--address", "localhost:99999"), "--address: got 'localhost:99999', expected host:port"),
        (("stats", "--address", ""), "--address: got '', expected host:port"),
        (("complete", "hi", "--seed", "-1"), "--seed: got '-1', expected a whole number from 0"),
        (("complete", "hi", "--seed", str(2**64)), f"--seed: got '{2**64}', expected a whole number from 0"),
        (("complete", "hi", "--max-output-tokens", "99999999999"), "--max-output-tokens: got '99999999999', expected"),
        (("complete", "hi", "--temperature", "inf"), "--temperature: got 'inf', expected a number from 0 to 2"),
        (("complete", "hi", "--stop", ""), "--stop: got '', expected 1 to 200 characters"),
        (("complete", "hi", "--logprobs", "21"), "--logprobs: got '21', expected a whole number from 0 to 20"),
        (
            ("complete", "hi", "--json-schema", "none.json"),
            "--json-schema: got 'none.json', expected a file with a JSON",
        ),
        (
            ("complete", "hi", "--json-schema", "README.md"),
            "--json-schema: got 'README.md', expected a file with a JSON",
        ),
        (("complete", "\udcff"), "prompt: got '\\udcff', expected UTF-8"),
        (("complete", "-"), "prompt: got b'\\xff' at byte 1 of the input, expected UTF-8"),
        (("keys", "list", "--keys", "none.json"), "--keys: got 'none.json', expected a file of keys"),
        (("keys", "revoke", "abcd", "--keys", "none.json"), "--keys: got 'none.json', expected a file of keys"),
        (("cache", "show", ""), "id: got '', expected at least one character"),
        (("cache", "show", "1", "--tenant", ""), "--tenant: got '', expected at least one character"),
        (("cache", "ls", "--limit", "0"), "--limit: got '0', expected a whole number from 1"),
        (("cache", "purge"), "purge: got no condition, expected --id, --principal"),
        (("cache", "purge", "--id", ""), "--id: got '', expected at least one character"),
        (("cache", "purge", "--older", "0d"), "--older: got '0d', expected a whole number from 1 to 99999 and s"),
        (("complete", "hi", "--max-age", "0s"), "--max-age: got '0s', expected a whole number from 1 to 99999 and s"),
        (("complete", "hi", "--ttl", "1.5h"), "--ttl: got '1.5h', expected a whole number from 1 to 99999 and s"),
        (("cache", "export", "--tenant", ""), "--tenant: got '', expected at least one character"),
        (("cache", "import", "none.jsonl"), "none.jsonl: got No such file or directory, expected a file that"),
        (("cache", "import", "tests"), "tests: got Is a directory, expected a file that `fulcrum cache export` wrote"),
        (("cache", "import", os.devnull), "/dev/null: got no entries, expected a file that `fulcrum cache export`"),
        (("cache", "import", "-"), "line 1: got 'utf-8' codec can't decode byte 0xff"),
        (("feedback", "wrong", "none.txt"), "none.txt: got No such file or directory, expected a file with what"),
        (("feedback", "wrong", "README.md"), "README.md: got no receipt, expected what `fulcrum complete --json`"),
        (("feedback", "wrong", "-"), "-: got no receipt, expected what `fulcrum complete --json` printed"),
        (("feedback", "bad", "README.md"), "verdict: invalid choice: 'bad' (choose from"),
        (("stats", "--certificate", "me.crt"), "--key: got none, expected a file, as --certificate is me.crt"),
        (("stats", "--ca", "README.md"), "--ca: README.md: cannot be used"),
    ],
)
async def test_a_wrong_argument_is_named(arguments: tuple[str, ...], told: str) -> None:
    """An argument that cannot be used ends the command with 2 and one line of its name, value and expectation."""
    ended = await piped(b"x\xff\xfe", *arguments)
    assert (ended.status, ended.out) == (2, "")
    assert told in ended.err
    assert len(ended.err.splitlines()) == 1


async def test_a_key_that_cannot_be_sent() -> None:
    """A key beyond ASCII is refused without being shown."""
    ended = await fulcrum("stats", FULCRUM_API_KEY="schlüssel")
    assert (ended.status, len(ended.err.splitlines())) == (2, 1)
    assert "FULCRUM_API_KEY: got what is not printable ASCII" in ended.err
    assert "sch" not in ended.err


async def test_a_key_does_not_travel_in_the_clear() -> None:
    """Without TLS a key goes to this very machine alone, unless the caller says that something else encrypts."""
    elsewhere = ("complete", "hi", "--address", "fulcrum.invalid:1")
    refused = await fulcrum(*elsewhere, FULCRUM_API_KEY=KEY)
    assert refused.status == 2
    assert "expected TLS, as the key in FULCRUM_API_KEY" in refused.err
    assert "--plaintext-key" in refused.err
    for allowed in ((*elsewhere, "--plaintext-key"), (*elsewhere, "--tls"), ("complete", "hi", *NOBODY)):
        asked = await fulcrum(*allowed, FULCRUM_API_KEY=KEY)
        assert asked.status == 1
        assert "expected a suite that answers" in asked.err


@asynccontextmanager
async def listening(authority: Authority, folder: Path) -> AsyncIterator[tuple[str, str]]:
    """Addresses of a server that speaks TLS and of one that does not."""
    files = authority.server().write(folder, "server")
    server = grpc.aio.server()
    shown = grpc.ssl_server_credentials([(files.key.read_bytes(), files.certificate.read_bytes())])
    ports = server.add_secure_port("127.0.0.1:0", shown), server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}"
    await server.stop(None)


async def test_why_no_suite_answers(tmp_path: Path) -> None:
    """What is known of a failed connection is said, with gRPC's own words for it."""
    authority = Authority()
    ca, other = str(authority.write(tmp_path)), str(Authority().write(tmp_path, "other.crt"))

    async def asked(address: str, *more: str) -> Ended:
        return await fulcrum("stats", "--address", address, *more)

    async with listening(authority, tmp_path) as (secure, plain):
        for ended, meaning, details in (
            (asked("127.0.0.1:1"), "nothing listens there, `fulcrum up`", "Connection refused"),
            (asked("fulcrum.invalid:1"), "no such name", "errors resolving fulcrum.invalid:1"),
            (asked(secure), "TLS does without --tls or --ca", "Socket closed"),
            (asked(secure, "--ca", other), "not of the authorities in --ca", "CERTIFICATE_VERIFY_FAILED"),
            (asked(plain, "--ca", ca), "TLS was asked for and is not spoken", "WRONG_VERSION_NUMBER"),
            (asked(secure, "--ca", ca), "an address that serves what was asked", "gRPC: Method not found!"),
        ):
            found = await ended
            assert found.status == 1
            assert len(found.err.splitlines()) == 1, found.err
            assert meaning in found.err
            assert details in found.err


async def test_the_wrong_one_of_three_files_is_named(tmp_path: Path) -> None:
    """An error in --ca, --certificate or --key names the one at fault."""
    authority = Authority()
    mine, another = authority.client("a.test").write(tmp_path, "a"), authority.client("b.test").write(tmp_path, "b")
    for certificate, key, told in (
        (tmp_path / "none.crt", mine.key, f"--certificate: {tmp_path}/none.crt: cannot be read"),
        (mine.certificate, tmp_path / "none.key", f"--key {tmp_path}/none.key"),
        (mine.certificate, another.key, f"--key {another.key}, with --certificate"),
    ):
        ended = await fulcrum("stats", *NOBODY, "--certificate", str(certificate), "--key", str(key))
        assert ended.status == 2
        assert told in ended.err


async def test_a_service_alone(tmp_path: Path) -> None:
    """At an executor's own address `models` shows what runs there; `stats` says that it is not served there."""
    async with suite_process(tmp_path, "serve", "executor") as executor:
        models, stats = await asyncio.gather(
            fulcrum("models", "--address", executor.address), fulcrum("stats", "--address", executor.address)
        )
    assert (models.status, models.err) == (0, "")
    assert "ready" in models.out
    assert f"no prices: the router is not served at {executor.address}" in models.out
    assert "catalogue" not in models.out
    assert stats.status == 1
    assert f"--address: got '{executor.address}', expected an address that serves what was asked" in stats.err
