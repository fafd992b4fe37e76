"""Settings of who may call: what is refused, and how what holds is put into words."""

from pathlib import Path
from typing import Any

import pytest

from services.chassis.access import in_words, risk
from services.chassis.channel import BackendSettings
from services.chassis.settings import ConfigError, Section, ServerSettings, load

TLS = {"certificate": "server.crt", "key": "server.key"}
MUTUAL = {**TLS, "client_ca": "ca.crt"}


class BackedSettings(Section, section="backed"):
    """A service with one backend."""

    backend: BackendSettings = BackendSettings()


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("HOST", "IDENTITY__ACCEPT", "TLS__KEY"):
        monkeypatch.delenv(f"FULCRUM_SERVER__{key}", raising=False)


def server(**values: Any) -> ServerSettings:
    return load(ServerSettings, {"server": values})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "::1", "[::1]"])
def test_loopback_needs_nothing(host: str) -> None:
    """On loopback nothing is asked of callers, and nothing must be set."""
    settings = server(host=host)
    assert in_words(host, settings.tls, settings.identity) == "no keys, no TLS: loopback, every caller trusted"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "fulcrum.example", "localhost.example"])
def test_beyond_loopback_something_must_be_said(host: str) -> None:
    """Elsewhere the server must say what callers show, or that it is open; TLS by itself names nobody."""
    for values in ({}, {"tls": TLS}, {"tls": MUTUAL}):
        with pytest.raises(ConfigError) as caught:
            server(host=host, **values)
        assert str(caught.value).startswith(f"server.host: got '{host}', expected a loopback address")
        assert "identity.accept" in str(caught.value)
        assert "identity.open" in str(caught.value)
    is_open = server(host=host, identity={"open": True})
    assert f"OPEN on {host}" in in_words(host, is_open.tls, is_open.identity)
    keyed = server(host=host, identity={"accept": ["keys"]}, tls=TLS)
    assert in_words(host, keyed.tls, keyed.identity) == "TLS; callers show: API key"


@pytest.mark.parametrize(
    ("values", "left"),
    [
        ({"identity": {"open": True}}, "open: whoever reaches this port"),
        ({"identity": {"open": True}, "tls": MUTUAL}, "open: whoever reaches this port"),
        ({"identity": {"accept": ["keys"]}}, "keys travel in the clear"),
        ({"identity": {"accept": ["header"]}, "tls": TLS}, "name any tenant in x-tenant"),
        ({"identity": {"accept": ["header"]}, "tls": MUTUAL}, None),
        ({"identity": {"accept": ["keys"]}, "tls": TLS}, None),
        ({"identity": {"accept": ["certificate", "header"], "trust_domain": "example.org"}, "tls": MUTUAL}, None),
    ],
)
def test_what_is_left_to_the_network_is_said(values: dict[str, Any], left: str | None) -> None:
    """A server beyond loopback warns of what it cannot hold by itself; on loopback there is nothing to warn of."""
    settings = server(host="10.0.0.7", **values)
    found = risk(settings.host, settings.tls, settings.identity)
    assert found is None if left is None else left in str(found)
    assert risk("127.0.0.1", settings.tls, settings.identity) is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"identity": {"accept": ["certificate"]}}, "server.tls.client_ca: got None, expected a file"),
        ({"identity": {"accept": ["certificate"]}, "tls": TLS}, "server.tls.client_ca: got None, expected a file"),
        ({"identity": {"accept": ["certificate"]}, "tls": MUTUAL}, "server.identity.trust_domain: got None, expected"),
        (
            {"identity": {"trust_domain": "spiffe://a"}},
            "server.identity.trust_domain (or FULCRUM_SERVER__IDENTITY__TRU",
        ),
        ({"identity": {"accept": ["keys"], "open": True}}, "server.identity.open: got True, expected False"),
        (
            {"identity": {"accept": ["key"]}},
            "server.identity.accept.0 (or FULCRUM_SERVER__IDENTITY__ACCEPT__0): got 'key'",
        ),
        ({"identity": {"header": "X Tenant"}}, "server.identity.header (or FULCRUM_SERVER__IDENTITY__HEADER): got"),
        ({"identity": {"tenant_pattern": "("}}, "server.identity.tenant_pattern"),
        ({"identity": {"tenant_pattern": "x"}}, "one group, the tenant, not 0"),
        ({"identity": {"acept": []}}, "unknown key, expected one of accept, open, keys, header"),
        ({"tls": {"certificate": "server.crt"}}, "server.tls.key (or FULCRUM_SERVER__TLS__KEY)"),
        ({"tls": {**TLS, "ca": "x"}}, "server.tls.ca (or FULCRUM_SERVER__TLS__CA): unknown key"),
    ],
)
def test_what_cannot_hold_is_explained(values: dict[str, Any], message: str) -> None:
    """Each mistake names the key, what was found and what was expected."""
    with pytest.raises(ConfigError) as caught:
        server(**values)
    assert message in str(caught.value)


def test_a_client_shows_a_whole_pair() -> None:
    """A certificate without its key is a mistake in the settings."""
    with pytest.raises(ConfigError, match="certificate and key go together"):
        load(BackedSettings, {"backed": {"backend": {"address": "x:1", "tls": {"certificate": "a.crt"}}}})
    whole = load(BackedSettings, {"backed": {"backend": {"tls": {"ca": "ca.crt", "server_name": "cache"}}}})
    assert whole.backend.tls
    assert whole.backend.tls.ca == Path("ca.crt")


def test_the_environment_may_name_ways_between_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the environment, words between commas do as well as JSON."""
    for text in ("keys, certificate", '["keys", "certificate"]'):
        monkeypatch.setenv("FULCRUM_SERVER__IDENTITY__ACCEPT", text)
        settings = server(tls=MUTUAL, identity={"trust_domain": "example.org"})
        assert settings.identity.accept == ("keys", "certificate")
        words = in_words(settings.host, settings.tls, settings.identity)
        assert words == "mutual TLS; callers show: API key or client certificate"
