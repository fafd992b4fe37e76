"""Foreign clients at an edge that asks for keys or certificates: they get in with them, and are told why without."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from fulcrum_client import AsyncClient, Retries, Tls, Unauthenticated, Unavailable

from services.chassis import key_file
from tests import certificates
from tests.interop.conftest import Running
from tests.interop.envoy import envoy
from tests.interop.outcome import Probe
from tests.interop.test_clients import COMPLETE, ask
from tests.interop.test_clients import probe as probe  # each client in turn

NORWAY = "What is the capital of Norway?"
ONCE = Retries(attempts=1)


@pytest_asyncio.fixture(scope="module")
async def keyed(running: Running, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[str, str]]:
    """An edge that asks for keys: its address, and a key of a tenant."""
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    _, token = key_file.KeyFile(path).create("acme", "interop", False, None)
    edge = running.another_edge("keyed", _accepting("keys", FULCRUM_SERVER__IDENTITY__KEYS=str(path)))
    try:
        await edge.start()
        yield edge.address, token
    finally:
        await edge.kill()
    assert token.rpartition("_")[2] not in edge.log.read_text()


def _accepting(what: str, **more: str) -> dict[str, str]:
    return {"FULCRUM_SERVER__IDENTITY__ACCEPT": f'["{what}"]', **more}


async def test_a_key_lets_in(keyed: tuple[str, str], probe: Probe) -> None:
    """With a key the caller is served; without, told what is missing."""
    address, token = keyed
    served = await probe.call(address, COMPLETE, ask(NORWAY), metadata={"authorization": f"Bearer {token}"})
    assert served.text == "Oslo"
    if type(probe).__name__ == "BufProbe":
        return  # it learns of the method by reflection, which needs the key as well
    refused = await probe.call(address, COMPLETE, ask(NORWAY))
    assert (refused.code, refused.details["ErrorInfo"]["reason"]) == ("UNAUTHENTICATED", "CREDENTIALS_MISSING")


async def test_a_key_passes_envoy(keyed: tuple[str, str], tmp_path: Path) -> None:
    """JSON with a key is answered; without it is 401, with its details."""
    address, token = keyed
    async with envoy(tmp_path, [address]) as door, httpx.AsyncClient(base_url=f"http://{door}") as http:
        served = await http.post("/v1/complete", json=ask(NORWAY), headers={"authorization": f"Bearer {token}"})
        assert served.status_code == 200, served.text
        refused = await http.get("/v1/usage")
    assert refused.status_code == 401
    assert refused.json()["details"][0]["reason"] == "CREDENTIALS_MISSING"


async def test_the_python_client_over_tls(running: Running, tmp_path: Path) -> None:
    """TLS with one's own authority; a key travels over it; a server that nobody vouches for is not spoken to."""
    authority = certificates.Authority()
    files = authority.server().write(tmp_path, "server")
    _, token = key_file.KeyFile(tmp_path / "keys.json").create("acme", "interop", False, None)
    told = {
        "FULCRUM_SERVER__TLS__CERTIFICATE": str(files.certificate),
        "FULCRUM_SERVER__TLS__KEY": str(files.key),
        "FULCRUM_SERVER__IDENTITY__KEYS": str(tmp_path / "keys.json"),
    }
    edge = running.another_edge("keyed-tls", _accepting("keys", **told))
    try:
        await edge.start()
        tls = Tls(ca=authority.write(tmp_path))
        async with AsyncClient(edge.address, api_key=token, tls=tls) as fulcrum:
            assert (await fulcrum.complete(NORWAY)).text == "Oslo"
        async with AsyncClient(edge.address, tls=tls) as fulcrum:
            with pytest.raises(Unauthenticated) as caught:
                await fulcrum.complete(NORWAY)
        assert caught.value.reason == "CREDENTIALS_MISSING"
        async with AsyncClient(edge.address, api_key=token, tls=True, retries=ONCE) as fulcrum:
            with pytest.raises(Unavailable):
                await fulcrum.complete(NORWAY)
    finally:
        await edge.kill()


async def test_the_python_client_shows_a_certificate(running: Running, tmp_path: Path) -> None:
    """mTLS: the certificate names the tenant; without one there is no connection."""
    authority = certificates.Authority()
    ca, server = authority.write(tmp_path), authority.server().write(tmp_path, "server")
    own = authority.client("spiffe://fulcrum.test/tenant/acme").write(tmp_path, "client")
    told = {
        "FULCRUM_SERVER__TLS__CERTIFICATE": str(server.certificate),
        "FULCRUM_SERVER__TLS__KEY": str(server.key),
        "FULCRUM_SERVER__TLS__CLIENT_CA": str(ca),
        "FULCRUM_SERVER__IDENTITY__TRUST_DOMAIN": "fulcrum.test",
    }
    edge = running.another_edge("mutual", _accepting("certificate", **told))
    try:
        await edge.start()
        tls = Tls(ca=ca, certificate=own.certificate, key=own.key)
        async with AsyncClient(edge.address, tls=tls) as fulcrum:
            assert (await fulcrum.complete(NORWAY)).text == "Oslo"
        async with AsyncClient(edge.address, tls=Tls(ca=ca), retries=ONCE) as fulcrum:
            with pytest.raises(Unavailable):
                await fulcrum.complete(NORWAY)
    finally:
        await edge.kill()
