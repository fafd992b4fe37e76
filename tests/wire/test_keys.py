"""API keys against `fulcrum up` in a process of its own: who is served, for how long, and what is left in the log."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from fulcrum.cache.v1 import cache_service_pb2 as cache_pb
from fulcrum.cache.v1.cache_service_pb2_grpc import CacheServiceStub
from fulcrum.edge.v1 import edge_service_pb2 as pb
from fulcrum.edge.v1 import receipt_pb2
from fulcrum.edge.v1.edge_service_pb2_grpc import EdgeServiceStub
from fulcrum.embedding.v1 import embedding_service_pb2 as embedding_pb
from fulcrum.embedding.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from fulcrum.executor.v1 import chat_pb2
from fulcrum.executor.v1 import executor_service_pb2 as executor_pb
from fulcrum.executor.v1.executor_service_pb2_grpc import ExecutorServiceStub
from fulcrum.router.v1 import router_service_pb2 as router_pb
from fulcrum.router.v1.router_service_pb2_grpc import RouterServiceStub

from benchmarks.suite_process import SuiteProcess, suite_process
from services.chassis.channel import connect
from services.chassis.key_file import KeyFile, id_of
from tests.wire.expect import drained, refused
from tests.wire.test_command import fulcrum

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
MISSING, INVALID = "CREDENTIALS_MISSING", "CREDENTIALS_INVALID"
FIELD = "metadata.authorization"
SOON_S = 10.0


@dataclass
class Keyed:
    """A suite that asks for keys, and every key that was ever made for it."""

    suite: SuiteProcess
    folder: Path
    edge: Any
    channel: grpc.aio.Channel
    tokens: list[str] = field(default_factory=list)

    @property
    def path(self) -> Path:
        return self.folder / "keys.json"

    @property
    def log(self) -> str:
        return (self.folder / "suite.log").read_text()

    def key(self, tenant: str, operator: bool = False, expires: datetime | None = None) -> str:
        _, token = KeyFile(self.path).create(tenant, "", operator, expires)
        self.tokens.append(token)
        return token

    async def usage(self, token: str, *more: tuple[str, str]) -> pb.GetUsageResponse:
        answer: pb.GetUsageResponse = await self.edge.GetUsage(
            pb.GetUsageRequest(), metadata=(*bearer(token), *more), timeout=10
        )
        return answer

    async def complete(self, token: str, prompt: str, *more: tuple[str, str]) -> receipt_pb2.Receipt:
        events = await drained(self.edge.Complete(ask(prompt), metadata=(*bearer(token), *more), timeout=30))
        receipt: receipt_pb2.Receipt = events[-1].receipt
        return receipt

    async def served(self, token: str, wanted: bool) -> None:
        """Waits until a key is served, or is not."""
        async with asyncio.timeout(SOON_S):
            while await self._is_served(token) != wanted:  # noqa: ASYNC110 - a file notifies nobody
                await asyncio.sleep(0.05)

    async def _is_served(self, token: str) -> bool:
        try:
            await self.usage(token)
        except grpc.aio.AioRpcError as error:
            if error.code() is not UNAUTHENTICATED:
                raise
            return False
        return True


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


def ask(prompt: str) -> pb.CompleteRequest:
    return pb.CompleteRequest(messages=[chat_pb2.Message(role=chat_pb2.ROLE_USER, content=prompt)])


@pytest_asyncio.fixture(scope="module")
async def keyed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Keyed]:
    """`fulcrum up` that accepts keys, with a log of everything."""
    folder = tmp_path_factory.mktemp("keyed")
    _, first = KeyFile(folder / "keys.json").create("first", "", False, None)
    environment = {
        "FULCRUM_SERVER__IDENTITY__ACCEPT": "keys",
        "FULCRUM_SERVER__IDENTITY__KEYS": str(folder / "keys.json"),
        "FULCRUM_SERVER__LOG_LEVEL": "debug",
    }
    async with suite_process(folder, environment=environment) as suite:
        channel = connect(suite.address)
        yield Keyed(suite, folder, EdgeServiceStub(channel), channel, [first])
        await channel.close()


async def test_strangers_are_refused(keyed: Keyed) -> None:
    """Without a key, or with what is none, nothing is answered, and the refusal says what was expected."""
    good = keyed.key("acme")
    await keyed.served(good, True)
    wrong = good[:-8] + "a" * 8
    for metadata, reason, where in (
        ((), MISSING, FIELD),
        (bearer(wrong), INVALID, FIELD),
        ((("authorization", good),), INVALID, FIELD),
        ((("x-api-key", wrong),), INVALID, "metadata.x-api-key"),
        ((*bearer(good), ("x-api-key", good)), INVALID, "metadata.x-api-key"),
    ):
        for call in (
            keyed.edge.GetUsage(pb.GetUsageRequest(), metadata=metadata, timeout=10),
            keyed.edge.Complete(ask("x"), metadata=metadata, timeout=10),
            keyed.edge.Complete(pb.CompleteRequest(), metadata=metadata, timeout=10),  # not even looked at
        ):
            error = await refused(call, UNAUTHENTICATED, reason, where)
            told = f"{error.details()} {error.trailing_metadata()!r}"
            assert not [secret for secret in (good, wrong) if secret.split("_")[2] in told]
    assert (await keyed.edge.GetUsage(pb.GetUsageRequest(), metadata=(("x-api-key", good),), timeout=10)).total


async def test_what_is_behind_edge_is_not_for_tenants(keyed: Keyed) -> None:
    """No tenant's key runs a model, asks the router, reads everyone's counts or keeps an answer; an operator's does."""
    tenant, operator = keyed.key("acme"), keyed.key("ops", operator=True)
    await keyed.served(tenant, True)
    await keyed.served(operator, True)
    cache: Any = CacheServiceStub(keyed.channel)
    router: Any = RouterServiceStub(keyed.channel)
    executor: Any = ExecutorServiceStub(keyed.channel)
    encoder: Any = EmbeddingServiceStub(keyed.channel)
    hello = chat_pb2.Message(role=chat_pb2.ROLE_USER, content="Hello")
    answer = cache_pb.Answer(text="x", model="m", input_tokens=10**9, output_tokens=10**9)
    forged = cache_pb.StoreRequest(scope=cache_pb.Scope(tenant="acme"), text="q", fingerprint=bytes(32), answer=answer)
    calls = (
        (cache.Stats, cache_pb.StatsRequest()),
        (cache.Store, forged),
        (router.ListModels, router_pb.ListModelsRequest()),
        (router.Route, router_pb.RouteRequest(text="Hello")),
        (executor.ListModels, executor_pb.ListModelsRequest()),
        (executor.LoadModel, executor_pb.LoadModelRequest(name="fulcrum-small")),
        (executor.UnloadModel, executor_pb.UnloadModelRequest(name="fulcrum-small")),
        (encoder.Embed, embedding_pb.EmbedRequest(texts=["Hello"])),
    )
    for method, request in calls:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await method(request, metadata=bearer(tenant), timeout=10)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert await method(request, metadata=bearer(operator), timeout=10)
    generate = executor_pb.GenerateRequest(model="fulcrum-small", messages=[hello])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await anext(aiter(executor.Generate(generate, metadata=bearer(tenant), timeout=10)))
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_tenant_is_its_keys_whatever_else_is_said(keyed: Keyed) -> None:
    """Answers and sums are the key's tenant's; metadata that names another changes nothing."""
    acme, globex = keyed.key("acme-1"), keyed.key("globex-1")
    await keyed.served(globex, True)
    claims = (("x-tenant", "acme-1"), ("tenant", "acme-1"), ("x-forwarded-user", "acme-1"))
    prompt = "What is the capital of Norway?"
    assert (await keyed.complete(acme, prompt)).cache.result == receipt_pb2.CACHE_RESULT_MISS
    assert (await keyed.complete(acme, prompt)).cache.result == receipt_pb2.CACHE_RESULT_EXACT_HIT
    assert (await keyed.complete(globex, prompt, *claims)).cache.result == receipt_pb2.CACHE_RESULT_MISS
    assert (await keyed.usage(globex, *claims)).total.requests == 1
    assert (await keyed.usage(acme)).total.requests == 2


async def test_keys_end_while_the_suite_runs(keyed: Keyed) -> None:
    """A key is refused soon after it was revoked, and when it expires."""
    revoked, kept = keyed.key("acme"), keyed.key("acme")
    expiring = keyed.key("acme", expires=datetime.now(UTC) + timedelta(seconds=3))
    expires = datetime.now(UTC).timestamp() + 2
    for token in (revoked, kept, expiring):
        await keyed.served(token, True)
    KeyFile(keyed.path).revoke(id_of(revoked))
    await keyed.served(revoked, False)
    await keyed.served(expiring, False)
    assert datetime.now(UTC).timestamp() >= expires
    error = await refused(
        keyed.edge.GetUsage(pb.GetUsageRequest(), metadata=bearer(revoked), timeout=10), UNAUTHENTICATED, INVALID, FIELD
    )
    assert f"key {id_of(revoked)}" in str(error.details())
    await keyed.usage(kept)


async def test_a_rotation_fails_no_call(keyed: Keyed) -> None:
    """With `revoke --in`, the old key counts beside the new one until its time has come; no call fails meanwhile."""
    old = keyed.key("rotating")
    await keyed.served(old, True)
    new = keyed.key("rotating")
    listed = await fulcrum("keys", "revoke", id_of(old), "--in", "3s", "--keys", str(keyed.path))
    assert (listed.status, listed.err) == (0, "")
    await keyed.served(new, True)
    ends = next(key.revoke_time for key in KeyFile(keyed.path).listed() if key.id == id_of(old))
    assert ends
    while datetime.now(UTC) < ends - timedelta(seconds=0.5):
        await keyed.usage(old)
        await keyed.usage(new)
        await asyncio.sleep(0.05)
    await keyed.served(old, False)
    await keyed.usage(new)


async def test_a_broken_file_leaves_the_last_good_keys(keyed: Keyed) -> None:
    """A file that breaks while the suite runs ends nobody's service and is logged; a mended one is taken up."""
    token = keyed.key("acme")
    await keyed.served(token, True)
    good = keyed.path.read_bytes()
    before = keyed.log.count("keys not reloaded")
    keyed.path.write_bytes(good[: len(good) // 2])
    async with asyncio.timeout(SOON_S):
        while keyed.log.count("keys not reloaded") == before:
            await keyed.usage(token)
            await asyncio.sleep(0.05)
    keyed.path.unlink()
    for _ in range(10):
        await keyed.usage(token)
        await asyncio.sleep(0.1)
    keyed.path.write_bytes(good)
    await keyed.served(keyed.key("mended"), True)


async def test_the_command_shows_its_key(keyed: Keyed) -> None:
    """`complete` and `stats` send the key of the environment; without one they say what is missing."""
    made = await fulcrum("keys", "create", "--tenant", "cli", "--expires", "1d", "--keys", str(keyed.path))
    assert made.status == 0
    token = made.out.strip()
    keyed.tokens.append(token)
    assert token not in made.err
    await keyed.served(token, True)
    where = ("--address", keyed.suite.address)
    answered = await fulcrum("complete", "What is the capital of Peru?", *where, FULCRUM_API_KEY=token)
    assert (answered.status, answered.err) == (0, "")
    stats = await fulcrum("stats", *where, FULCRUM_API_KEY=token)
    assert stats.status == 0, stats.err
    assert "cost, lever by lever" in stats.out
    for environment in ({"FULCRUM_API_KEY": ""}, {"FULCRUM_API_KEY": token[:-1]}):
        stranger = await fulcrum("stats", *where, **environment)
        assert stranger.status == 1
        assert "metadata.authorization" in stranger.err
        assert token[:-1] not in stranger.err
    for wrong, message in (
        (("create", "--tenant", "x", "--expires", "9y"), "got '9y', expected a whole number from 1 to 99999 and s"),
        (("create", "--tenant", " "), "tenant: got ' ', expected 1 to 200 printable characters"),
        (("revoke", "nobody"), "key: got 'nobody', expected an id that `fulcrum keys list` shows"),
    ):
        ended = await fulcrum("keys", *wrong, "--keys", str(keyed.path))
        assert ended.status in (1, 2)
        assert message in ended.err
    listed = await fulcrum("keys", "list", "--keys", str(keyed.path))
    assert id_of(token) in listed.out
    assert token.split("_")[2] not in listed.out


async def test_an_operator_lists_the_models(keyed: Keyed) -> None:
    """`fulcrum models` shows models and prices to an operator's key, and tells a tenant whose they are to see."""
    operator, tenant = keyed.key("ops", operator=True), keyed.key("acme")
    await keyed.served(tenant, True)
    where = ("--address", keyed.suite.address)
    shown = await fulcrum("models", *where, FULCRUM_API_KEY=operator)
    assert (shown.status, shown.err) == (0, "")
    assert "fulcrum-large (strong)" in shown.out
    assert "an hour" in shown.out
    refused_ = await fulcrum("models", *where, FULCRUM_API_KEY=tenant)
    assert refused_.status == 1
    assert "caller: got 'acme', expected one of our services, or an operator" in refused_.err
    stats = await fulcrum("stats", *where, FULCRUM_API_KEY=operator)
    assert "entries" in stats.out


async def test_up_says_what_holds(keyed: Keyed, tmp_path: Path) -> None:
    """`fulcrum up` tells who is served under its settings, and refuses a host beyond loopback without them."""
    assert "no TLS; callers show: API key" in keyed.log
    async with suite_process(tmp_path, "up") as local:
        assert local.address.startswith("127.0.0.1")
        assert "no keys, no TLS: loopback, every caller trusted" in (tmp_path / "suite.log").read_text()
    refused_ = await fulcrum("up", FULCRUM_SERVER__HOST="0.0.0.0", FULCRUM_SERVER__PORT="0")
    assert refused_.status == 2
    assert "server.host: got '0.0.0.0', expected a loopback address" in refused_.err
    absent = await fulcrum(
        "up", FULCRUM_SERVER__IDENTITY__ACCEPT="keys", FULCRUM_SERVER__IDENTITY__KEYS=str(tmp_path / "none.json")
    )
    assert absent.status == 2
    assert "server.identity.keys" in absent.err
    assert "fulcrum keys create" in absent.err


async def test_keys_are_in_no_log(keyed: Keyed) -> None:
    """After all of that, at the most talkative level, the log names callers by id and holds no key."""
    token = keyed.key("logged")
    await keyed.served(token, True)
    await keyed.complete(token, "What is the capital of Chile?")
    log = keyed.log
    assert f'"caller": "key {id_of(token)}"' in log
    assert '"tenant": "logged"' in log
    secrets = [one.split("_")[2] for one in keyed.tokens]
    assert not [id_of(one) for one, secret in zip(keyed.tokens, secrets, strict=True) if secret in log]
    assert not [secret for secret in secrets if secret[:20] in log]  # nor the start of one
