"""Certificates made on the spot: an authority, and what it signs for servers and for clients."""

import ipaddress
import itertools
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_names = itertools.count()
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as PEM."""

    certificate: bytes
    key: bytes
    serial: int

    def write(self, folder: Path, name: str) -> "Files":
        """Puts both into files, each replaced whole."""
        files = Files(folder / f"{name}.crt", folder / f"{name}.key")
        replace(files.certificate, self.certificate)
        replace(files.key, self.key)
        return files


@dataclass(frozen=True)
class Files:
    """Where a certificate and its key are."""

    certificate: Path
    key: Path


def replace(path: Path, content: bytes) -> None:
    """Replaces a file whole, as those who rotate certificates do."""
    fresh = path.with_suffix(".fresh")
    fresh.write_bytes(content)
    os.replace(fresh, path)  # noqa: PTH105 - os.replace is what it is about


class Authority:
    """One that signs."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(f"authority {next(_names)}")
        builder = _builder(self._name, self._name, self._key.public_key())
        self._certificate = builder.add_extension(x509.BasicConstraints(True, None), True).sign(
            self._key, hashes.SHA256()
        )
        self.pem = self._certificate.public_bytes(serialization.Encoding.PEM)

    def write(self, folder: Path, name: str = "ca.crt") -> Path:
        """Puts its certificate into a file."""
        replace(folder / name, self.pem)
        return folder / name

    def server(self, *dns: str) -> Pair:
        """For a server on loopback, or one of these names."""
        if dns:
            return self._sign([x509.DNSName(name) for name in dns])
        return self._sign([x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")])

    def client(self, *names: str) -> Pair:
        """For a client with these names: URIs, or DNS names where they have no scheme."""
        return self._sign([x509.UniformResourceIdentifier(n) if ":" in n else x509.DNSName(n) for n in names])

    def _sign(self, names: list[x509.GeneralName]) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(f"leaf {next(_names)}"), self._name, key.public_key())
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
        signed = builder.sign(self._key, hashes.SHA256())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Pair(signed.public_bytes(serialization.Encoding.PEM), private, signed.serial_number)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
    )
