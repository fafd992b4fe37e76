"""Certificates in files: what cannot be used is explained at the start, and ignored while running."""

import shutil
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from services.chassis import tls
from services.chassis.access import ClientTlsSettings, TlsSettings
from services.chassis.settings import ConfigError
from services.chassis.tls import ClientCertificates, ServerCertificates
from tests.certificates import Authority, Files


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> Files:
    """A good pair."""
    return authority.server().write(tmp_path, "server")


@pytest.fixture(autouse=True)
def _always_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "_LOOK_EVERY_S", 0.0)


@pytest.mark.parametrize("end", ["server", "client"])
@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("server.crt", None, "cannot be read: No such file or directory"),
        ("server.key", None, "cannot be read: No such file or directory"),
        ("ca.crt", None, "cannot be read: No such file or directory"),
        ("server.crt", "no certificate", "cannot be used"),
        ("server.key", "no key", "cannot be used"),
        ("ca.crt", "no certificate", "cannot be used"),
        ("ca.crt", "", "cannot be used"),
        ("server.key", "another key", "cannot be used: key values mismatch"),
    ],
)
def test_files_that_cannot_be_used(
    authority: Authority, files: Files, tmp_path: Path, end: str, file: str, content: str | None, problem: str
) -> None:
    """A missing, broken or mismatched file is a mistake in the settings that names the file and quotes no key."""
    ca = authority.write(tmp_path)
    if content is None:
        (tmp_path / file).unlink()
    elif content == "another key":
        (tmp_path / file).write_bytes(authority.server().key)
    else:
        (tmp_path / file).write_text(content)
    shown = {"certificate": files.certificate, "key": files.key}

    def make() -> object:
        if end == "server":
            return ServerCertificates(TlsSettings(client_ca=ca, **shown))
        return ClientCertificates(ClientTlsSettings(ca=ca, **shown), "edge.cache.tls")

    with pytest.raises(ConfigError) as caught:
        make()
    message = str(caught.value)
    assert message.startswith("server.tls: " if end == "server" else "edge.cache.tls: ")
    assert str(tmp_path) in message
    assert problem in message
    assert "BEGIN" not in message


def test_comments_may_be_in_any_language(authority: Authority, tmp_path: Path) -> None:
    """Letters beyond ASCII around certificates are passed over; a file of nothing else is no certificate."""
    ca = tmp_path / "ca.crt"
    ca.write_bytes("# Főtanúsítvány\n".encode() + authority.pem)
    assert ClientCertificates(ClientTlsSettings(ca=ca)).credentials()
    ca.write_text("Főtanúsítvány")
    with pytest.raises(ConfigError, match="cannot be used"):
        ClientCertificates(ClientTlsSettings(ca=ca))


def test_a_key_behind_a_password_is_refused_without_asking(tmp_path: Path) -> None:
    """Nobody is asked for a password on a terminal that a server does not have."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    pair = Authority().server()
    locked = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    files = pair.write(tmp_path, "server")
    files.key.write_bytes(locked)
    with pytest.raises(ConfigError, match="cannot be used"):
        ServerCertificates(TlsSettings(certificate=files.certificate, key=files.key))


def test_a_server_takes_up_a_whole_new_pair(authority: Authority, files: Files) -> None:
    """Half of a rotation is ignored and logged once; the whole is taken up, once."""
    certificates = ServerCertificates(TlsSettings(certificate=files.certificate, key=files.key))
    assert certificates._fresh() is None
    pair = authority.server()
    files.certificate.write_bytes(pair.certificate)
    with capture_logs() as logs:
        assert certificates._fresh() is None
        assert certificates._fresh() is None
    (line,) = logs
    assert (line["log_level"], "key values mismatch" in line["problem"]) == ("error", True)
    files.key.write_bytes(pair.key)
    assert certificates._fresh() is not None
    assert certificates._fresh() is None


def test_a_client_counts_usable_contents(authority: Authority, files: Files, tmp_path: Path) -> None:
    """The version moves when new files can be used, and only then; the credentials move with it."""
    ca = authority.write(tmp_path)
    settings = ClientTlsSettings(ca=ca, certificate=files.certificate, key=files.key, server_name="cache")
    certificates = ClientCertificates(settings)
    assert certificates.options == (("grpc.ssl_target_name_override", "cache"),)
    first = certificates.credentials()
    assert certificates.version() == 0
    pair = authority.client("x.example")
    files.certificate.write_bytes(pair.certificate)
    with capture_logs() as logs:
        assert [certificates.version() for _ in range(3)] == [0, 0, 0]
    assert len(logs) == 1
    assert certificates.credentials() is first
    files.key.write_bytes(pair.key)
    assert [certificates.version() for _ in range(3)] == [1, 1, 1]
    assert certificates.credentials() is not first
    kept = files.certificate.with_suffix(".kept")
    shutil.copy(files.certificate, kept)
    files.certificate.unlink()
    assert certificates.version() == 1
    kept.rename(files.certificate)
    assert certificates.credentials() is not first
