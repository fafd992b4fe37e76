"""TLS on real sockets: who a certificate is served as, who is not, and rotation under load."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from fulcrum.cache.v1 import cache_service_pb2 as pb
from fulcrum.cache.v1.cache_service_pb2_grpc import CacheServiceStub
from fulcrum.edge.v1 import edge_service_pb2 as edge_pb
from fulcrum.edge.v1 import receipt_pb2
from fulcrum.edge.v1.edge_service_pb2_grpc import EdgeServiceStub
from fulcrum.executor.v1 import chat_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.suite_process import suite_process
from services.cache.__main__ import assemble as assemble_cache
from services.cache.settings import CacheSettings
from services.chassis.access import ClientTlsSettings
from services.chassis.channel import connect
from services.chassis.key_file import KeyFile
from services.chassis.server import ServerProcess
from services.chassis.settings import ServerSettings
from services.chassis.tls import ClientCertificates
from tests.certificates import Authority, Files, Pair, replace
from tests.processes import ServiceProcess
from tests.unit.chassis.parts import serving
from tests.wire.expect import drained, refused
from tests.wire.test_command import fulcrum

ACME, GLOBEX = "spiffe://example.org/tenant/acme", "spiffe://example.org/tenant/globex"
EDGE = "spiffe://example.org/service/edge"
FINGERPRINT = bytes(32)
SOON_S = 15.0


class House:
    """A folder with an authority, a server's files, and a cache that serves by them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority()
        self.ca = self.authority.write(folder)
        self.server = self.authority.server().write(folder, "server")

    @asynccontextmanager
    async def cache(self, mutual: bool = True, **identity: Any) -> AsyncIterator[str]:
        """A cache on a port of its own; its address."""
        tls = {"certificate": self.server.certificate, "key": self.server.key}
        settings = ServerSettings(
            port=0,
            drain_s=1,
            tls={**tls, "client_ca": self.ca if mutual else None},
            identity={"accept": ["certificate"] if mutual else [], "trust_domain": "example.org", **identity},
        )
        component = assemble_cache(CacheSettings(database=self.folder / "cache.sqlite"))
        async with serving(ServerProcess(settings), component) as port:
            yield f"127.0.0.1:{port}"

    def client(self, name: str, pair: Pair | None = None) -> ClientCertificates:
        """What the client of this name shows; files of its own."""
        files = (pair or self.authority.client(name)).write(self.folder, _file(name))
        return ClientCertificates(ClientTlsSettings(ca=self.ca, certificate=files.certificate, key=files.key))


def _file(name: str) -> str:
    return name.replace("/", "_").replace(":", "")


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@asynccontextmanager
async def cache_stub(address: str, certificates: ClientCertificates | None) -> AsyncIterator[Any]:
    channel = connect(address, certificates=certificates)
    try:
        yield CacheServiceStub(channel)
    finally:
        await channel.close()


def stored(cache: Any, tenant: str, answer: str) -> Any:
    answered = pb.Answer(text=answer, model="m", input_tokens=1, output_tokens=1, cost_nano_usd=1)
    scope = pb.Scope(tenant=tenant)
    return cache.Store(pb.StoreRequest(scope=scope, text="q", fingerprint=FINGERPRINT, answer=answered), timeout=10)


async def found(cache: Any, tenant: str) -> str:
    request = pb.LookupRequest(scope=pb.Scope(tenant=tenant), text="q", fingerprint=FINGERPRINT)
    return str((await cache.Lookup(request, timeout=10)).hit.answer.text)


async def test_a_tenant_cannot_reach_another(house: House) -> None:
    """Whatever tenant a message claims, a tenant's certificate reads, lists and removes its own entries alone."""
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(house.cache())
        edge, acme, globex = [
            await stack.enter_async_context(cache_stub(address, house.client(name))) for name in (EDGE, ACME, GLOBEX)
        ]
        await stored(edge, "acme", "for acme")
        await stored(edge, "globex", "for globex")
        assert [await found(edge, tenant) for tenant in ("acme", "globex", "third")] == ["for acme", "for globex", ""]
        assert [await found(acme, tenant) for tenant in ("acme", "globex", "third")] == ["for acme"] * 3
        assert [await found(globex, tenant) for tenant in ("acme", "globex", EDGE)] == ["for globex"] * 3
        await refused(
            stored(globex, "acme", "poison"), grpc.StatusCode.PERMISSION_DENIED, "CALLER_NOT_ALLOWED", "caller"
        )
        assert await found(acme, "acme") == "for acme"
        claimed = pb.Scope(tenant="acme")
        listed = await globex.ListEntries(pb.ListEntriesRequest(scope=claimed), timeout=10)
        own = await acme.ListEntries(pb.ListEntriesRequest(scope=claimed), timeout=10)
        assert not {entry.entry_id for entry in listed.entries} & {entry.entry_id for entry in own.entries}
        await globex.Invalidate(pb.InvalidateRequest(scope=claimed, all=True), timeout=10)
        named = pb.InvalidateRequest(scope=claimed, entry_id=own.entries[0].entry_id)
        assert (await globex.Invalidate(named, timeout=10)).removed == 0
        assert await found(acme, "acme") == "for acme"
        lookup = pb.LookupRequest(scope=claimed, text="q", fingerprint=FINGERPRINT)
        lookup_id = (await acme.Lookup(lookup, timeout=10)).lookup_id
        wrong = pb.FeedbackRequest(scope=claimed, lookup_id=lookup_id, verdict=pb.VERDICT_WRONG, source="x")
        await refused(globex.Feedback(wrong, timeout=10), grpc.StatusCode.NOT_FOUND, "ID_UNKNOWN", "lookup_id")
        assert await found(acme, "acme") == "for acme"


async def test_metadata_names_nobody(house: House) -> None:
    """A header or a key that is not accepted changes nothing of whom a certificate stands for."""
    async with house.cache() as address, cache_stub(address, house.client(EDGE)) as edge:
        await stored(edge, "acme", "for acme")
        async with cache_stub(address, house.client(GLOBEX)) as globex:
            claims = (("x-tenant", "acme"), ("authorization", "Bearer fk_x_y"), ("x-forwarded-client-cert", EDGE))
            request = pb.LookupRequest(scope=pb.Scope(tenant="acme"), text="q", fingerprint=FINGERPRINT)
            assert not (await globex.Lookup(request, metadata=claims, timeout=10)).hit.answer.text


async def test_unknown_names_are_refused(house: House) -> None:
    """A certificate of the right authority whose names tell nobody is known to nobody."""
    async with house.cache() as address:
        for name in ("spiffe://example.org/other/x", "acme", ACME + "/more"):
            async with cache_stub(address, house.client(name)) as cache:
                call = cache.Stats(pb.StatsRequest(), timeout=10)
                error = await refused(call, grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_INVALID", "certificate")
                assert name in str(error.details())
        async with cache_stub(address, house.client("none", house.authority.client())) as cache:
            call = cache.Stats(pb.StatsRequest(), timeout=10)
            await refused(call, grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_INVALID", "certificate")


async def test_the_handshake_refuses_strangers(house: House) -> None:
    """No TLS, no certificate, another authority's certificate, and another server's name: none gets to speak."""
    stranger, unshown = Authority().client(ACME), ClientCertificates(ClientTlsSettings(ca=house.ca))
    misnamed = ClientCertificates(ClientTlsSettings(ca=house.ca, server_name="cache.example"))
    async with house.cache() as address:
        for certificates in (None, unshown, misnamed, house.client("stranger", stranger)):
            async with cache_stub(address, certificates) as cache:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await cache.Stats(pb.StatsRequest(), timeout=10)
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        async with cache_stub(address, house.client(EDGE)) as cache:
            await cache.Stats(pb.StatsRequest(), timeout=10)


async def test_tls_alone(house: House) -> None:
    """Without a client CA a server is verified and its callers are not: health and services answer over TLS."""
    async with house.cache(mutual=False) as address:
        channel = connect(address, certificates=ClientCertificates(ClientTlsSettings(ca=house.ca)))
        health: Any = health_pb2_grpc.HealthStub(channel)
        assert (await health.Check(health_pb2.HealthCheckRequest(), timeout=10)).status == 1
        assert await found(CacheServiceStub(channel), "acme") == ""
        await channel.close()
        other = Authority().write(house.folder, "other.crt")
        for certificates in (None, ClientCertificates(ClientTlsSettings(ca=other))):
            async with cache_stub(address, certificates) as cache:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await cache.Stats(pb.StatsRequest(), timeout=10)
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_server_by_another_name(house: House) -> None:
    """A client that reaches a server by address can expect the name in its certificate."""
    house.authority.server("cache.example").write(house.folder, "server")
    named = ClientCertificates(ClientTlsSettings(ca=house.ca, server_name="cache.example"))
    async with house.cache(mutual=False) as address, cache_stub(address, named) as cache:
        await cache.Stats(pb.StatsRequest(), timeout=10)


class Load:
    """Calls without pause, on a channel that stays and on channels made anew; every failure is kept."""

    def __init__(self, address: str, certificates: Callable[[], ClientCertificates]) -> None:
        self.calls = 0
        self.failures: list[str] = []
        self._certificates = certificates
        self._address = address
        self._stop = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Load"]:
        tasks = [asyncio.ensure_future(self._on_one_channel()), asyncio.ensure_future(self._on_new_channels())]
        try:
            yield self
        finally:
            self._stop.set()
            await asyncio.gather(*tasks)

    async def more(self, count: int) -> None:
        """Waits until so many more calls have ended."""
        wanted = self.calls + count
        async with asyncio.timeout(SOON_S):
            while self.calls < wanted:  # noqa: ASYNC110 - calls notify nobody
                await asyncio.sleep(0.02)

    async def _on_one_channel(self) -> None:
        async with cache_stub(self._address, self._certificates()) as cache:

            async def call_on() -> None:
                while not self._stop.is_set():
                    await self._call(cache)

            await asyncio.gather(*(call_on() for _ in range(4)))

    async def _on_new_channels(self) -> None:
        while not self._stop.is_set():
            async with cache_stub(self._address, self._certificates()) as cache:
                await self._call(cache)

    async def _call(self, cache: Any) -> None:
        try:
            await found(cache, "acme")
        except grpc.aio.AioRpcError as error:
            self.failures.append(f"{error.code().name}: {error.details()}")
        except asyncio.CancelledError:
            self.failures.append("cancelled")
        self.calls += 1


def serial_shown(address: str, house: House, files: Files) -> int:
    """The serial number of the certificate that a new connection is shown."""
    context = ssl.create_default_context(cafile=str(house.ca))
    context.load_cert_chain(files.certificate, files.key)
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=host) as secured,
    ):
        shown = secured.getpeercert(binary_form=True)
    assert shown
    return x509.load_der_x509_certificate(shown).serial_number


async def test_rotation_under_load_fails_no_call(house: House) -> None:
    """Server, client and authority are replaced, file by file, while calls go on and connections come: none fails."""
    files = house.authority.client(EDGE).write(house.folder, "edge")
    settings = ClientTlsSettings(ca=house.ca, certificate=files.certificate, key=files.key)
    async with house.cache() as address, Load(address, lambda: ClientCertificates(settings)).running() as load:
        await load.more(50)
        before = await asyncio.to_thread(serial_shown, address, house, files)
        renewed = house.authority.server()
        replace(house.server.certificate, renewed.certificate)
        await load.more(100)  # the pair does not fit: the last good one is shown
        assert await asyncio.to_thread(serial_shown, address, house, files) == before
        replace(house.server.key, renewed.key)
        await load.more(100)
        assert await asyncio.to_thread(serial_shown, address, house, files) == renewed.serial

        successor = Authority()
        replace(house.ca, house.authority.pem + successor.pem)  # both ends first trust both
        await asyncio.sleep(1.5)
        moved = successor.server()
        moved.write(house.folder, "server")
        await load.more(100)
        successor.client(EDGE).write(house.folder, "edge")
        await asyncio.sleep(1.5)  # a client looks once a second
        await load.more(100)
        replace(house.ca, successor.pem)  # and then the new one alone
        await asyncio.sleep(1.5)
        await load.more(100)
        assert await asyncio.to_thread(serial_shown, address, house, files) == moved.serial
        outlawed = house.client("late", house.authority.client(EDGE))
        async with cache_stub(address, outlawed) as cache:
            with pytest.raises(grpc.aio.AioRpcError):
                await cache.Stats(pb.StatsRequest(), timeout=10)
    assert load.failures == []
    assert load.calls > 500


async def test_a_client_shows_its_new_certificate(house: House) -> None:
    """A channel that stays open acts under the new certificate once files changed; half of a pair is ignored."""
    async with house.cache() as address, cache_stub(address, house.client(EDGE)) as edge:
        await stored(edge, "acme", "for acme")
        await stored(edge, "globex", "for globex")
        certificates = house.client("moving", house.authority.client(ACME))
        async with cache_stub(address, certificates) as moving:
            assert await found(moving, "acme") == "for acme"
            pair = house.authority.client(GLOBEX)
            replace(house.folder / "moving.crt", pair.certificate)
            for _ in range(15):
                assert await found(moving, "acme") == "for acme"
                await asyncio.sleep(0.1)
            replace(house.folder / "moving.key", pair.key)
            async with asyncio.timeout(SOON_S):
                while await found(moving, "acme") != "for globex":  # noqa: ASYNC110 - files notify nobody
                    await asyncio.sleep(0.05)


@asynccontextmanager
async def mesh(house: House) -> AsyncIterator[ServiceProcess]:
    """Every service a process: edge asks for keys over TLS, and shows the others a service's certificate."""
    edge = house.authority.client(EDGE).write(house.folder, "edge")
    tls = {
        "FULCRUM_SERVER__TLS__CERTIFICATE": str(house.server.certificate),
        "FULCRUM_SERVER__TLS__KEY": str(house.server.key),
    }
    inner = {
        **tls,
        "FULCRUM_SERVER__TLS__CLIENT_CA": str(house.ca),
        "FULCRUM_SERVER__IDENTITY__ACCEPT": "certificate",
        "FULCRUM_SERVER__IDENTITY__TRUST_DOMAIN": "example.org",
        "FULCRUM_ROUTER__CATALOGUE": "deploy/catalogue.yaml",
        "FULCRUM_CACHE__DATABASE": str(house.folder / "cache.sqlite"),
    }
    backends = [ServiceProcess(name, house.folder, inner) for name in ("executor", "cache", "router")]
    started = list(backends)
    try:
        await asyncio.gather(*(process.start() for process in backends))
        outer = {
            **tls,
            "FULCRUM_SERVER__IDENTITY__ACCEPT": "keys",
            "FULCRUM_SERVER__IDENTITY__KEYS": str(house.folder / "keys.json"),
        }
        for process in backends:
            for name in ("executor", "encoder") if process.service == "executor" else (process.service,):
                one = f"FULCRUM_EDGE__{name.upper()}"
                outer[f"{one}__ADDRESS"] = process.address
                outer[f"{one}__TLS__CA"] = str(house.ca)
                outer[f"{one}__TLS__CERTIFICATE"] = str(edge.certificate)
                outer[f"{one}__TLS__KEY"] = str(edge.key)
        started.append(ServiceProcess("edge", house.folder, outer))
        yield await started[-1].start()
    finally:
        for process in started:
            await process.stop()


async def test_a_mesh_of_processes(house: House) -> None:
    """Keys outside, certificates inside: a tenant is answered with nothing degraded, and its entries are its own."""
    file = KeyFile(house.folder / "keys.json")
    tokens = [file.create(tenant, "", False, None)[1] for tenant in ("acme", "globex")]
    async with mesh(house) as edge:
        channel = connect(edge.address, certificates=ClientCertificates(ClientTlsSettings(ca=house.ca)))
        stub: Any = EdgeServiceStub(channel)
        ask = edge_pb.CompleteRequest(
            messages=[chat_pb2.Message(role=chat_pb2.ROLE_USER, content="What is the capital of Norway?")]
        )
        results = []
        for token in (tokens[0], tokens[0], tokens[1]):
            events = await drained(stub.Complete(ask, metadata=(("x-api-key", token),), timeout=30))
            assert not events[-1].receipt.degradations
            results.append(events[-1].receipt.cache.result)
        miss, hit = receipt_pb2.CACHE_RESULT_MISS, receipt_pb2.CACHE_RESULT_EXACT_HIT
        assert results == [miss, hit, miss]
        await channel.close()
        shown = {"FULCRUM_API_KEY": tokens[0], "FULCRUM_CA": str(house.ca)}
        stats = await fulcrum("stats", "--address", edge.address, **shown)
        assert stats.status == 0, stats.err
        plain = await fulcrum("stats", "--address", edge.address, FULCRUM_API_KEY=tokens[0])
        assert plain.status == 1
    logs = {path.name: path.read_text() for path in house.folder.glob("*.log")}
    assert '"tenant": "acme"' in logs["edge.log"]
    assert f'"caller": "service {EDGE}"' in logs["cache.log"]
    assert not [name for name, text in logs.items() for token in tokens if token.split("_")[2][:20] in text]


async def test_the_command_shows_a_certificate(house: House) -> None:
    """A tenant's certificate gets `fulcrum stats` its own sums; without one: refused; half a pair: named."""
    tenant = house.authority.client(ACME).write(house.folder, "me")
    settings = {
        "FULCRUM_SERVER__TLS__CERTIFICATE": str(house.server.certificate),
        "FULCRUM_SERVER__TLS__KEY": str(house.server.key),
        "FULCRUM_SERVER__TLS__CLIENT_CA": str(house.ca),
        "FULCRUM_SERVER__IDENTITY__ACCEPT": "certificate",
        "FULCRUM_SERVER__IDENTITY__TRUST_DOMAIN": "example.org",
    }
    async with suite_process(house.folder, environment=settings) as running:
        shown = ("--ca", str(house.ca), "--certificate", str(tenant.certificate), "--key", str(tenant.key))
        stats = await fulcrum("stats", "--by", "tenant", "--json", "--address", running.address, *shown)
        found = json.loads(stats.out)
        assert found["total"].get("requests", "0") == "0"
        nobody = await fulcrum("stats", "--address", running.address, "--ca", str(house.ca))
        assert nobody.status == 1
        half = await fulcrum("stats", "--address", running.address, "--certificate", str(tenant.certificate))
        assert (half.status, "--key: got none, expected a file" in half.err) == (2, True)
