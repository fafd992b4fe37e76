"""Certificates from files to gRPC credentials, on both ends, read again when the files change."""

import ssl
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import structlog

from services.chassis.access import ClientTlsSettings, TlsSettings
from services.chassis.file_stamp import Stamp, stamp
from services.chassis.settings import ConfigError

_LOOK_EVERY_S = 1.0


class CertificateError(Exception):
    """Files that make no credentials; the message names the file and quotes nothing of it."""


class ServerCertificates:
    """What one server shows to clients.

    Files that turn bad while the server runs, as in the middle of a rotation, leave the last good ones in force and are
    logged once; open connections keep what they were made with.

    Raises:
        ConfigError: the files cannot be used at the start.
    """

    def __init__(self, settings: TlsSettings) -> None:
        self._settings = settings
        self._files = _present(settings.certificate, settings.key, settings.client_ca)
        self._used: Stamp = ()
        self._complained: Stamp = ()
        self._lock = threading.Lock()  # gRPC asks from threads of its own
        self._log = structlog.get_logger("tls")
        try:
            self._initial, self._used = self._load()
        except CertificateError as error:
            raise ConfigError(f"server.tls: {error}") from error

    def credentials(self) -> grpc.ServerCredentials:
        """Credentials that look at the files at every handshake; with a client CA, a client must show a certificate."""
        required = self._settings.client_ca is not None
        fresh: Any = self._fresh  # its stub does not know that None means no change
        return grpc.dynamic_ssl_server_credentials(self._initial, fresh, required)

    def _fresh(self) -> grpc.ServerCertificateConfiguration | None:
        """New certificates; None where what gRPC has is still right."""
        with self._lock:
            found = stamp(self._files)
            if found in (self._used, self._complained):
                return None
            try:
                configuration, self._used = self._load()
            except CertificateError as error:
                self._complained = found
                self._log.error("certificate not reloaded, the last good one stays", problem=str(error))
                return None
            self._log.info("certificate reloaded", certificate=str(self._settings.certificate))
            return configuration

    def _load(self) -> tuple[grpc.ServerCertificateConfiguration, Stamp]:
        settings = self._settings
        contents, found = _consistent(self._files, (settings.certificate, settings.key), settings.client_ca)
        pair = (contents[settings.key], contents[settings.certificate])
        roots = contents[settings.client_ca] if settings.client_ca else None
        return grpc.ssl_server_certificate_configuration([pair], roots), found


class ClientCertificates:
    """What a client shows to one backend, and how it verifies it.

    A channel cannot change its credentials, so who holds one compares `version()` before a call with the version that
    the channel was made with, and makes another one where they differ.

    Raises:
        ConfigError: the files cannot be used at the start; `field` names the setting.
    """

    def __init__(self, settings: ClientTlsSettings, field: str = "tls") -> None:
        self._settings = settings
        self._files = _present(settings.ca, settings.certificate, settings.key)
        self._version = 0
        self._look_at = time.monotonic() + _LOOK_EVERY_S
        self._log = structlog.get_logger("tls")
        try:
            self._credentials, self._seen = self._load()
        except CertificateError as error:
            raise ConfigError(f"{field}: {error}") from error

    @property
    def options(self) -> tuple[tuple[str, Any], ...]:
        """Channel options that belong to the credentials."""
        name = self._settings.server_name
        return (("grpc.ssl_target_name_override", name),) if name else ()

    def version(self) -> int:
        """Counts the usable contents of the files so far; looks at most once a second, in a few microseconds."""
        now = time.monotonic()
        if now < self._look_at:
            return self._version
        self._look_at = now + _LOOK_EVERY_S
        found = stamp(self._files)
        if found == self._seen:
            return self._version
        try:
            self._credentials, self._seen = self._load()
        except CertificateError as error:
            self._seen = found
            self._log.error("certificate not reloaded, the last good one stays", problem=str(error))
            return self._version
        self._version += 1
        self._log.info("certificate reloaded", certificate=str(self._settings.certificate or self._settings.ca))
        return self._version

    def credentials(self) -> grpc.ChannelCredentials:
        """The credentials of the present version."""
        return self._credentials

    def _load(self) -> tuple[grpc.ChannelCredentials, Stamp]:
        settings = self._settings
        pair = (settings.certificate, settings.key) if settings.certificate and settings.key else None
        contents, found = _consistent(self._files, pair, settings.ca)
        roots = contents[settings.ca] if settings.ca else None
        if pair is None:
            return grpc.ssl_channel_credentials(roots), found
        return grpc.ssl_channel_credentials(roots, contents[pair[1]], contents[pair[0]]), found


def _present(*paths: Path | None) -> list[Path]:
    return [path for path in paths if path is not None]


def _consistent(
    files: Sequence[Path], pair: tuple[Path, Path] | None, ca: Path | None
) -> tuple[dict[Path, bytes], Stamp]:
    """The files' contents and stamp, once they have stood still and a certificate fits its key.

    gRPC itself says nothing about a pair that does not fit until every handshake fails, hence the check by OpenSSL.
    """
    before = stamp(files)
    contents: dict[Path, bytes] = {}
    for path in files:
        try:
            contents[path] = path.read_bytes()
        except OSError as error:
            raise CertificateError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        named: Path | None = ca
        if ca:
            letters = contents[ca].decode("ascii", "ignore")  # comments may hold others
            context.load_verify_locations(cadata=letters)
        if pair:
            named = pair[0]
            context.load_cert_chain(pair[0], pair[1], password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or "no PEM certificate"
        raise CertificateError(f"{named}: cannot be used: {reason.replace('_', ' ').lower()}") from error
    if stamp(files) != before:
        raise CertificateError(f"{named or 'the files'}: changed while being read")
    return contents, before


def _no_password() -> str:
    return ""  # a key behind a password would otherwise ask for it on the terminal
