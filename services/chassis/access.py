"""What an operator sets of who may call: certificates on both ends, and how callers show who they are."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

_NO_NAME = re.compile("(?!)")
Way = Literal["keys", "certificate", "header"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _words(value: object) -> object:
    """A list as an environment variable holds it without JSON: words between commas."""
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


class TlsSettings(_Frozen):
    """What a server shows, and whose clients it lets connect; files are read again when they change."""

    certificate: Path = Field(description="PEM certificate and chain that clients are shown")
    key: Path = Field(description="PEM private key of the certificate")
    client_ca: Path | None = Field(
        None, description="PEM certificates of those who sign clients'; set, every client must show a certificate"
    )


class ClientTlsSettings(_Frozen):
    """How a client verifies a server, and what it shows; files are read again when they change."""

    ca: Path | None = Field(None, description="PEM certificates that verify the server; public ones where unset")
    certificate: Path | None = Field(None, description="PEM certificate and chain shown to the server")
    key: Path | None = Field(None, description="PEM private key of the certificate")
    server_name: str | None = Field(None, description="name in the server's certificate where it is not the address")

    @model_validator(mode="after")
    def _both_or_neither(self) -> "ClientTlsSettings":
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")
        return self


class IdentitySettings(_Frozen):
    """How a caller from outside shows who it is."""

    accept: Annotated[tuple[Way, ...], BeforeValidator(_words)] = Field(
        (), description="what counts: keys, certificate, header; nothing means that all who reach the port are trusted"
    )
    open: bool = Field(False, description="whether a host beyond loopback may go without `accept`")
    keys: Path = Field(Path("var/keys.json"), description="file of API keys, hashed; `fulcrum keys` writes it")
    header: str = Field(
        "x-tenant", pattern="^[a-z0-9-]+$", description="metadata key in which a trusted proxy names the tenant"
    )
    trust_domain: str | None = Field(
        None,
        pattern="^[a-z0-9._-]{1,255}$",
        description="SPIFFE domain of the names in certificates, such as example.org",
    )
    tenant_pattern: re.Pattern[str] | None = Field(
        None,
        description="URI or DNS name in a client's certificate, the tenant its one group; "
        "spiffe://TRUST_DOMAIN/tenant/NAME where unset",
    )
    service_pattern: re.Pattern[str] | None = Field(
        None,
        description="URI or DNS name of our own services, trusted to act for every tenant; "
        "spiffe://TRUST_DOMAIN/service/NAME where unset",
    )

    @field_validator("tenant_pattern")
    @classmethod
    def _names_a_tenant(cls, pattern: re.Pattern[str] | None) -> re.Pattern[str] | None:
        if pattern and pattern.groups != 1:
            raise ValueError(f"one group, the tenant, not {pattern.groups}")
        return pattern

    @property
    def tenant_names(self) -> re.Pattern[str]:
        """What a tenant's certificate is called; nothing, unless the settings say."""
        return self.tenant_pattern or self._in_domain("tenant/([^/]+)")

    @property
    def service_names(self) -> re.Pattern[str]:
        """What a certificate of one of our services is called; nothing, unless the settings say."""
        return self.service_pattern or self._in_domain("service/[^/]+")

    @property
    def names_somebody(self) -> bool:
        """Whether a certificate can stand for anyone at all."""
        return bool(self.trust_domain or self.tenant_pattern or self.service_pattern)

    def _in_domain(self, path: str) -> re.Pattern[str]:
        return re.compile(f"spiffe://{re.escape(self.trust_domain)}/{path}") if self.trust_domain else _NO_NAME


def contradiction(host: str, tls: TlsSettings | None, identity: IdentitySettings) -> str | None:
    """Why these settings of one server cannot hold together; None where they can."""
    if identity.accept and identity.open:
        return f"identity.open: got True, expected False beside identity.accept: {', '.join(identity.accept)}"
    if "certificate" in identity.accept and not (tls and tls.client_ca):
        return "tls.client_ca: got None, expected a file, as identity.accept names certificate"
    if "certificate" in identity.accept and not identity.names_somebody:
        return (
            "identity.trust_domain: got None, expected the domain of your certificates, such as example.org, or a "
            "tenant_pattern or service_pattern, as identity.accept names certificate"
        )
    if not identity.accept and not identity.open and not is_loopback(host):
        return (
            f"host: got {host!r}, expected a loopback address such as 127.0.0.1, as whoever reaches this port is "
            "trusted; name in identity.accept what callers must show (keys, certificate, header), or set identity.open"
        )
    return None


def in_words(host: str, tls: TlsSettings | None, identity: IdentitySettings) -> str:
    """What holds for callers under these settings, in a few words."""
    wire = "no TLS" if tls is None else "mutual TLS" if tls.client_ca else "TLS"
    if identity.accept:
        names = {"keys": "API key", "certificate": "client certificate", "header": f"{identity.header} of a proxy"}
        return f"{wire}; callers show: {' or '.join(names[way] for way in identity.accept)}"
    reach = "loopback" if is_loopback(host) else f"OPEN on {host}"
    return f"no keys, {wire}: {reach}, every caller trusted"


def risk(host: str, tls: TlsSettings | None, identity: IdentitySettings) -> str | None:
    """What these settings leave to the network, for a warning; None where it is nothing."""
    if is_loopback(host):
        return None
    if not identity.accept:
        return "open: whoever reaches this port is trusted with every tenant"
    if identity.accept == ("header",) and not (tls and tls.client_ca):
        return f"whoever reaches this port can name any tenant in {identity.header}"
    return "keys travel in the clear" if "keys" in identity.accept and tls is None else None


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
