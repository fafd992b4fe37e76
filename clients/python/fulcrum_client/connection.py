"""Addresses, keys and certificates: how a channel is made and what every call carries."""

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import grpc
import grpc.aio

_OPTIONS = [
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
    ("grpc.enable_retries", 0),  # retries are ours, so that there is one bound
]


@dataclass(frozen=True)
class Tls:
    """TLS to the server, and a certificate of one's own for mTLS.

    Args:
        ca: PEM file of the authorities that vouch for the server; the system's where None.
        certificate, key: PEM files that show who calls.
        server_name: name in the server's certificate, where it is not the address's.
    """

    ca: Path | str | None = None
    certificate: Path | str | None = None
    key: Path | str | None = None
    server_name: str | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """What a secure channel needs.

        Raises:
            ValueError: only one of certificate and key.
            OSError: a file cannot be read.
        """
        if (self.certificate is None) is not (self.key is None):
            raise ValueError("certificate and key: got one of the two, expected both or none")
        ca, key, chain = (Path(path).read_bytes() if path else None for path in (self.ca, self.key, self.certificate))
        return grpc.ssl_channel_credentials(root_certificates=ca, private_key=key, certificate_chain=chain)

    def options(self) -> list[tuple[str, str]]:
        """Channel options."""
        return [("grpc.ssl_target_name_override", self.server_name)] if self.server_name else []


@dataclass(frozen=True)
class Connection:
    """Where a suite is and how one is known there; `api_key` never shows in its text.

    Raises:
        ValueError: a key would travel in the clear to another machine.
    """

    address: str
    api_key: str | None
    tls: Tls | bool
    plaintext_key: bool

    def __post_init__(self) -> None:
        if self.api_key and not self.tls and not self.plaintext_key and not _on_this_machine(self.address):
            raise ValueError(
                f"tls: got none for {self.address}, expected TLS, as a key travels with every call; "
                "plaintext_key=True where something on the way encrypts"
            )

    def __repr__(self) -> str:
        return f"Connection({self.address!r}, key={'set' if self.api_key else 'none'}, tls={bool(self.tls)})"

    def channel(self) -> grpc.Channel:
        """A channel for threads."""
        tls = self._tls
        if tls is None:
            return grpc.insecure_channel(self.address, options=_OPTIONS)
        return grpc.secure_channel(self.address, tls.credentials(), options=[*_OPTIONS, *tls.options()])

    def aio_channel(self) -> grpc.aio.Channel:
        """A channel for coroutines."""
        tls = self._tls
        if tls is None:
            return grpc.aio.insecure_channel(self.address, options=_OPTIONS)
        return grpc.aio.secure_channel(self.address, tls.credentials(), options=[*_OPTIONS, *tls.options()])

    def metadata(self, request_id: str) -> tuple[tuple[str, str], ...]:
        """What every call carries."""
        key = (("authorization", f"Bearer {self.api_key}"),) if self.api_key else ()
        return (("x-request-id", request_id), *key)

    @property
    def _tls(self) -> Tls | None:
        return Tls() if self.tls is True else self.tls or None


def _on_this_machine(address: str) -> bool:
    if address.startswith(("unix:", "localhost:")):
        return True
    host = address.rpartition(":")[0].removeprefix("ipv4:").removeprefix("ipv6:").strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return False
