"""Who a caller is found to be, and that nothing is looked at before it is known."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from fulcrum.embedding.v1.embedding_service_pb2 import EmbedRequest, EmbedResponse
from fulcrum.embedding.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from fulcrum.executor.v1 import executor_service_pb2 as executor_pb
from fulcrum.executor.v1.executor_service_pb2_grpc import ExecutorServiceStub
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from structlog.testing import capture_logs

from services.chassis import keys as keys_module
from services.chassis.access import IdentitySettings
from services.chassis.call import LOCAL, Caller, caller, tenant_of
from services.chassis.channel import connect
from services.chassis.errors import Unauthenticated
from services.chassis.identity import Identity
from services.chassis.key_file import KeyFile, id_of
from services.chassis.server import ServerProcess
from services.chassis.settings import ServerSettings
from tests.unit.chassis.parts import EMBEDDING, Reached, Scripted, details_of, prompt, reached, refused, serving, texts

ACME = "spiffe://example.org/tenant/acme"
EDGE = "spiffe://example.org/service/edge"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def token(path: Path) -> str:
    return KeyFile(path).create("acme", "", False, None)[1]


@pytest.fixture
def operator(path: Path) -> str:
    return KeyFile(path).create("ops", "", True, None)[1]


def certificate(*names: str) -> Any:
    """What gRPC tells of a verified certificate with these names."""
    uris = [name.encode() for name in names if ":" in name]
    dns = [name.encode() for name in names if ":" not in name]
    return lambda: {"x509_subject": [b"CN=x"], "peer_uri": uris, "peer_dns": dns}


def nothing() -> dict[str, list[bytes]]:
    return {"transport_security_type": [b"insecure"]}


def by(*ways: str, **settings: Any) -> Identity:
    return Identity(IdentitySettings(accept=ways, **{"trust_domain": "example.org", **settings}))


def refusal(identity: Identity, metadata: Any, auth_context: Any = nothing) -> tuple[str, str, str]:
    with pytest.raises(Unauthenticated) as caught:
        identity.of_wire(metadata, auth_context)
    return caught.value.reason, caught.value.field, caught.value.value


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


def test_nothing_accepted_trusts_everyone() -> None:
    """Without `accept`, whoever reaches the port is this machine's own, whatever it shows."""
    assert by().of_wire(bearer("x"), nothing) is LOCAL
    assert by().of_process(()) is LOCAL


def test_a_key_in_either_place(path: Path, token: str) -> None:
    """A key counts as a bearer token or as x-api-key."""
    identity = by("keys", keys=path)
    acme = Caller("acme", f"key {id_of(token)}", False)
    for metadata in (bearer(token), (("x-api-key", token),), (("authorization", f"bearer  {token} "),)):
        assert identity.of_wire(metadata, nothing) == acme


def test_keys_that_do_not_count(path: Path, token: str, operator: str) -> None:
    """No key, two keys, another scheme and a key that is not text are refused and quoted nowhere."""
    identity = by("keys", keys=path)
    field = "metadata.authorization"
    assert refusal(identity, ()) == ("CREDENTIALS_MISSING", field, "absent")
    twice = (*bearer(token), ("x-api-key", token))
    assert refusal(identity, twice) == ("CREDENTIALS_INVALID", "metadata.x-api-key", "a second key")
    assert refusal(identity, (*bearer(token), *bearer(operator)))[1:] == (field, "a second key")
    assert refusal(identity, (("authorization", token),))[2] == "another scheme"
    assert refusal(identity, (("authorization", f"Basic {token}"),))[2] == "another scheme"
    assert refusal(identity, (("x-api-key", token.encode()),))[2] == "an unknown key"
    assert refusal(identity, (("x-api-key", ""),))[2] == "an unknown key"


@pytest.mark.parametrize("name", ["x-tenant", "tenant", "x-fulcrum-tenant"])
def test_a_header_beside_a_key_changes_nothing(path: Path, token: str, operator: str, name: str) -> None:
    """Where keys alone are accepted, metadata that names a tenant is not even looked at."""
    identity = by("keys", keys=path)
    assert identity.of_wire((*bearer(token), (name, "globex")), nothing).tenant == "acme"
    assert identity.of_wire((*bearer(operator), (name, "globex")), nothing).tenant == "ops"
    assert refusal(identity, ((name, "globex"),))[0] == "CREDENTIALS_MISSING"


def test_certificates_name_tenants_and_services() -> None:
    """A tenant's certificate stands for it, one of ours is trusted, and any other name is unknown."""
    identity = by("certificate")
    for _ in range(2):  # the second time from memory
        assert identity.of_wire((), certificate(ACME)) == Caller("acme", f"certificate {ACME}", False)
        assert identity.of_wire((), certificate("a.example", EDGE)) == Caller(EDGE, f"service {EDGE}", True)
        assert refusal(identity, (), certificate("spiffe://example.org/other/x"))[0] == "CREDENTIALS_INVALID"
    assert refusal(identity, (), certificate("mallory.example")) == (
        "CREDENTIALS_INVALID",
        "certificate",
        "mallory.example",
    )
    assert refusal(identity, (), certificate())[2] == "no name"
    assert refusal(identity, ()) == ("CREDENTIALS_MISSING", "certificate", "absent")
    assert refusal(identity, bearer("fk_a_b"))[0] == "CREDENTIALS_MISSING"


@pytest.mark.parametrize(
    "name",
    [
        "spiffe://example.org/tenant/acme/more",
        "spiffe://example.org/x/tenant/acme",
        "prefix spiffe://example.org/tenant/acme",
        "spiffe://example.org/tenant/acme\n",
        "spiffe://example.org/tenant/",
        "spiffe://example.org/service/edge/x",
        "spiffe://example.org/service/edge\n",
        "spiffe://example.org/tenant/" + "x" * 201,
    ],
)
def test_a_name_must_match_whole(name: str) -> None:
    """A name that merely holds a good one is unknown."""
    assert refusal(by("certificate"), (), certificate(name))[0] == "CREDENTIALS_INVALID"


def test_patterns_match_whole_names() -> None:
    """A pattern without anchors matches no more than a whole name; DNS names serve as well as URIs."""
    identity = by("certificate", tenant_pattern=r"([a-z]+)\.tenants\.example", service_pattern=r"[a-z]+\.svc\.example")
    assert identity.of_wire((), certificate("acme.tenants.example")).tenant == "acme"
    assert identity.of_wire((), certificate("edge.svc.example")).trusted
    for name in ("edge.svc.example.evil.org", "evil-acme.tenants.example", ACME):
        assert refusal(identity, (), certificate(name))[0] == "CREDENTIALS_INVALID"


def test_certificates_of_another_domain_are_nobody() -> None:
    """An authority may sign for other domains too: names there are neither tenants nor services of ours."""
    identity = by("certificate")
    for domain in ("example.com", "example.org.evil.com", "evil.com/example.org", "exampleXorg", "EXAMPLE.ORG"):
        for path in ("tenant/acme", "service/edge"):
            assert refusal(identity, (), certificate(f"spiffe://{domain}/{path}"))[0] == "CREDENTIALS_INVALID"
    assert identity.of_wire((), certificate("spiffe://example.com/service/edge", ACME)).tenant == "acme"


def test_without_a_domain_a_pattern_alone_names_somebody() -> None:
    """Where one pattern is set and no domain, what the other would name is nobody."""
    identity = by("certificate", trust_domain=None, tenant_pattern=r"([a-z]+)\.tenants\.example")
    assert identity.of_wire((), certificate("acme.tenants.example")).tenant == "acme"
    for name in (ACME, EDGE, "", "x"):
        assert refusal(identity, (), certificate(name))[0] == "CREDENTIALS_INVALID"


def test_two_tenants_in_one_certificate_are_nobody() -> None:
    """Names that tell two tenants are refused; the same tenant twice is that tenant."""
    identity = by("certificate")
    other = "spiffe://example.org/tenant/globex"
    assert refusal(identity, (), certificate(ACME, other))[0] == "CREDENTIALS_INVALID"
    assert identity.of_wire((), certificate(ACME, "spiffe://example.com/tenant/acme")).tenant == "acme"


def test_a_key_counts_before_the_certificate(path: Path, token: str) -> None:
    """With both accepted the key of the call decides, a bad one refuses, and without one the certificate counts."""
    identity = by("keys", "certificate", keys=path)
    globex = certificate("spiffe://example.org/tenant/globex")
    assert identity.of_wire(bearer(token), globex).tenant == "acme"
    assert identity.of_wire((), globex).tenant == "globex"
    assert refusal(identity, bearer("fk_x_y"), globex)[0] == "CREDENTIALS_INVALID"
    assert refusal(identity, ())[:2] == ("CREDENTIALS_MISSING", "metadata.authorization")


def test_a_header_alone_is_believed() -> None:
    """With the header alone a proxy is believed, and names a tenant that is not trusted; one value, no more."""
    identity = by("header", header="x-who")
    assert identity.of_wire((("x-who", "acme"),), nothing) == Caller("acme", "header", False)
    assert refusal(identity, ()) == ("CREDENTIALS_MISSING", "metadata.x-who", "absent")
    assert refusal(identity, (("x-tenant", "acme"),))[0] == "CREDENTIALS_MISSING"
    for values in (["acme", "globex"], [""], ["x" * 201], [b"acme"]):
        metadata = [("x-who", value) for value in values]
        assert refusal(identity, metadata)[:2] == ("CREDENTIALS_INVALID", "metadata.x-who")


def test_a_header_beside_certificates_is_believed_from_services(path: Path, token: str, operator: str) -> None:
    """Beside other ways, the trusted name with the header whom they act for; from all others it changes nothing."""
    identity = by("keys", "certificate", "header", keys=path)
    named = (("x-tenant", "globex"),)
    assert identity.of_wire(named, certificate(EDGE)) == Caller("globex", f"service {EDGE}", False)
    assert identity.of_wire((*bearer(operator), *named), nothing) == Caller("globex", f"key {id_of(operator)}", False)
    assert identity.of_wire((), certificate(EDGE)).trusted
    assert identity.of_wire(named, certificate(ACME)).tenant == "acme"
    assert identity.of_wire((*bearer(token), *named), nothing).tenant == "acme"
    assert refusal(identity, named)[0] == "CREDENTIALS_MISSING"


def test_what_a_process_asks_itself(path: Path, token: str) -> None:
    """A call from within the process is its own, unless it brings credentials: then those count."""
    identity = by("keys", keys=path)
    assert identity.of_process(()) is LOCAL
    assert identity.of_process(bearer(token)).tenant == "acme"
    with pytest.raises(Unauthenticated):
        identity.of_process(bearer("fk_x_y"))
    assert by("header").of_process((("x-tenant", "acme"),)) == Caller("acme", "header", False)


@pytest.mark.parametrize("binding", ["local", "grpc"])
async def test_what_is_not_for_tenants_wants_a_trusted_caller(
    binding: str, path: Path, token: str, operator: str
) -> None:
    """A tenant may call what a component names, and is refused the rest unread; operators and the process are not."""
    process = ServerProcess(ServerSettings(port=0, drain_s=0.2, identity={"accept": ["keys"], "keys": path}))
    service = Scripted()
    component = replace(service.component(), for_tenants=frozenset({"Embed"}))
    async with AsyncExitStack() as stack:
        if binding == "local":
            channel = process.local_channel([component])
        else:
            channel = connect(f"127.0.0.1:{await stack.enter_async_context(serving(process, component))}")
        stack.push_async_callback(channel.close)
        embedding: Any = EmbeddingServiceStub(channel)
        executor: Any = ExecutorServiceStub(channel)
        await embedding.Embed(texts(), timeout=5, metadata=bearer(token))
        service.begun.clear()
        unread = executor_pb.GenerateRequest()
        for call, request in ((executor.Generate, unread), (executor.ListModels, executor_pb.ListModelsRequest())):
            error = await refused(call(request, timeout=5, metadata=bearer(token)))
            assert error.code() is grpc.StatusCode.PERMISSION_DENIED
            info = details_of(error)["ErrorInfo"]
            assert (info.reason, info.metadata["field"]) == ("CALLER_NOT_ALLOWED", "caller")
            assert "operator" in info.metadata["expected"]
        assert not service.begun.is_set()
        assert (
            await executor.ListModels(executor_pb.ListModelsRequest(), timeout=5, metadata=bearer(operator)) is not None
        )
        if binding == "local":
            assert await executor.ListModels(executor_pb.ListModelsRequest(), timeout=5) is not None


async def test_reflection_says_unavailable_where_keys_cannot_be_read(
    path: Path, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of keys that is gone for long fails closed for reflection as for calls, and no path is told."""
    monkeypatch.setattr(keys_module, "_LAST_GOOD_S", 0.0)
    monkeypatch.setattr(keys_module, "_LOOK_EVERY_S", 0.0)
    async with reached("grpc", identity={"accept": ["keys"], "keys": path}) as service:
        await asyncio.to_thread(path.unlink)
        await asyncio.gather(
            service.embedding.Embed(texts(), timeout=5, metadata=bearer(token)), return_exceptions=True
        )
        await asyncio.sleep(0.01)
        channel: Any = service.channel
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        for call in (
            stub.ServerReflectionInfo(asked, timeout=5, metadata=bearer(token)),
            service.embedding.Embed(texts(), timeout=5, metadata=bearer(token)),
        ):
            error = await refused(call)
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            assert details_of(error)["ErrorInfo"].metadata["field"] == "server.identity.keys"
            assert str(path.parent) not in str(error)


async def seen_by(service: Reached, **call: Any) -> tuple[Caller, str]:
    """Whom a handler sees, and what counts of another tenant that a message claims."""
    seen: list[tuple[Caller, str]] = []

    async def look(_: Any) -> EmbedResponse:
        seen.append((caller(), tenant_of("claimed")))
        return EmbedResponse()

    service.service.embed = look
    await service.embedding.Embed(texts(), timeout=5, **call)
    return seen[0]


@pytest.mark.parametrize("binding", ["local", "grpc"])
async def test_a_handler_sees_its_caller(binding: str, path: Path, token: str, operator: str) -> None:
    """The caller is found once and is the current one in handlers; what a message claims counts from the trusted."""
    async with reached(binding, identity={"accept": ["keys"], "keys": path}) as service:
        found, counts = await seen_by(service, metadata=bearer(token))
        assert (found.tenant, counts) == ("acme", "acme")
        found, counts = await seen_by(service, metadata=bearer(operator))
        assert (found.tenant, counts) == ("ops", "claimed")


async def test_calls_within_a_call_are_its_callers(path: Path, token: str) -> None:
    """What a handler asks of another service of the same process is asked by the handler's caller, claims or not."""
    async with reached("grpc", identity={"accept": ["keys"], "keys": path}) as service:
        inner = service.process.local_channel([service.service.component()])
        method: Any = inner.unary_unary(f"/{EMBEDDING}/Embed")
        seen: list[tuple[Caller, str]] = []

        async def look(request: EmbedRequest) -> EmbedResponse:
            seen.append((caller(), tenant_of("claimed")))
            if request.texts[0] == "outer":
                await method(texts("inner"), timeout=5)
                await method(texts("inner"), timeout=5, metadata=bearer("fk_x_y"))
            return EmbedResponse()

        service.service.embed = look
        await service.embedding.Embed(texts("outer"), timeout=5, metadata=bearer(token))
        assert [(found.tenant, counts) for found, counts in seen] == [("acme", "acme")] * 3


async def test_the_caller_is_known_before_the_message_is_looked_at(path: Path, token: str) -> None:
    """A message that is broken, oversize or against its contract costs and tells a stranger nothing."""
    settings = {"identity": {"accept": ["keys"], "keys": path}, "max_message_bytes": 2000}
    async with reached("grpc", **settings) as service:
        raw: Any = service.channel.unary_unary(f"/{EMBEDDING}/Embed")
        bad = (b"\xff\xff\xff", texts("x" * 3000).SerializeToString(), EmbedRequest().SerializeToString())
        for content in bad:
            error = await refused(raw(content, timeout=5))
            assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        codes = [(await refused(raw(content, timeout=5, metadata=bearer(token)))).code().name for content in bad]
        assert codes == ["INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "INVALID_ARGUMENT"]
        assert not service.service.begun.is_set()


async def test_bytes_that_are_no_message_are_a_bad_argument(wire: Reached) -> None:
    """What does not parse is INVALID_ARGUMENT that names the message, for unary calls and streams, and no defect."""
    for kind, path in (
        ("unary_unary", f"/{EMBEDDING}/Embed"),
        ("unary_stream", "/fulcrum.executor.v1.ExecutorService/Generate"),
    ):
        method: Any = getattr(wire.channel, kind)(path)
        with capture_logs() as logs:
            error = await refused(method(b"\x0a\xff", timeout=5))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        details = details_of(error)
        assert (details["ErrorInfo"].reason, details["ErrorInfo"].metadata["field"]) == ("FIELD_INVALID", "message")
        assert [violation.field for violation in details["BadRequest"].field_violations] == ["message"]
        assert not [line for line in logs if line["event"] == "defect"]
    assert not wire.service.begun.is_set()


async def test_a_refusal_is_counted_and_logged_and_takes_no_place(path: Path, token: str) -> None:
    """Strangers leave a line and a count under their request id, and no trace in the limit; callers are named."""
    async with reached("grpc", identity={"accept": ["keys"], "keys": path}, max_concurrent_calls=1) as service:
        with capture_logs() as logs:
            for call in (service.embedding.Embed, service.executor.Generate):
                request = texts() if call is service.embedding.Embed else prompt()
                error = await refused(call(request, timeout=5))
                assert details_of(error)["ErrorInfo"].reason == "CREDENTIALS_MISSING"
            await service.embedding.Embed(texts(), timeout=5, metadata=bearer(token))
        lines = [(line["code"], line.get("reason"), line.get("tenant"), line.get("caller")) for line in logs]
        assert lines == [
            ("UNAUTHENTICATED", "CREDENTIALS_MISSING", None, None),
            ("UNAUTHENTICATED", "CREDENTIALS_MISSING", None, None),
            ("OK", None, "acme", f"key {id_of(token)}"),
        ]


@pytest.mark.parametrize("accept", [(), ("keys",)])
async def test_health_is_open_and_reflection_is_not(path: Path, token: str, accept: tuple[str, ...]) -> None:
    """Health asks for nothing; reflection describes what may be called to those who may call it."""
    async with reached("grpc", identity={"accept": accept, "keys": path}) as service:
        channel: Any = service.channel
        health: Any = health_pb2_grpc.HealthStub(channel)
        assert (await health.Check(health_pb2.HealthCheckRequest(), timeout=5)).status == 1
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(channel)

        def ask(metadata: Any) -> Any:
            asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
            return reflection.ServerReflectionInfo(asked, timeout=5, metadata=metadata)

        (listed,) = [answer async for answer in ask(bearer(token))]
        assert EMBEDDING in {one.name for one in listed.list_services_response.service}
        if accept:
            error = await refused(ask(()))
            assert error.code() is grpc.StatusCode.UNAUTHENTICATED
            assert details_of(error)["ErrorInfo"].reason == "CREDENTIALS_MISSING"
        else:
            assert [answer async for answer in ask(())] == [listed]
