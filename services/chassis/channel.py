"""Channels to other services: where these are, and how one address of theirs is reached."""

import json
from typing import Any, cast

import grpc
from pydantic import BaseModel, ConfigDict, Field, field_validator

from services.chassis.access import ClientTlsSettings
from services.chassis.balanced import BalancedChannel
from services.chassis.reloading_channel import ReloadingChannel
from services.chassis.replica import Replica
from services.chassis.tls import ClientCertificates

_BALANCED = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})  # over the addresses behind one name
_LONGEST_PATIENCE_S = 0.9


class BackendSettings(BaseModel):
    """Where one service is reached."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    address: str = Field(
        "in-process",
        description="'in-process', or host:port, dns:///name:port, unix:path; several replicas separated by commas",
    )
    timeout_s: float = Field(30.0, gt=0, description="longest that one call may take")
    tls: ClientTlsSettings | None = Field(None, description="how the connection is secured; no TLS where unset")

    @field_validator("address")
    @classmethod
    def _whole(cls, address: str) -> str:
        parts = [part.strip() for part in address.split(",")]
        if not all(parts) or (len(parts) > 1 and "in-process" in parts):
            raise ValueError("'in-process', or addresses separated by single commas")
        return ",".join(parts)

    @property
    def in_process(self) -> bool:
        """Whether the service lives in this very process."""
        return self.address == "in-process"


def connect(
    address: str,
    retries: bool = False,
    max_message_bytes: int = 16 * 1024 * 1024,
    *,
    name: str = "",
    timeout_s: float = 30.0,
    certificates: ClientCertificates | None = None,
) -> grpc.aio.Channel:
    """A channel to `address`; it connects by itself, and again after a failure.

    Args:
        address: host:port, dns:///name:port or unix:path; several replicas separated by commas.
        retries: whether a unary call that nobody answered is tried once more; never for what runs a model.
        max_message_bytes: largest message sent or received.
        name: what the backend is called in errors, logs and metrics; without one nothing is logged.
        timeout_s: longest that its calls usually get; a replica silent for that long, or 0.9 s, counts as timed out.
        certificates: what secures the connections; no TLS where None.
    """
    patience_s = min(0.9 * timeout_s, _LONGEST_PATIENCE_S)
    replicas = [
        Replica(name, one, _open(one, max_message_bytes, certificates), patience_s) for one in address.split(",")
    ]
    return cast(grpc.aio.Channel, BalancedChannel(name, replicas, retries))


def _open(address: str, max_message_bytes: int, certificates: ClientCertificates | None) -> grpc.aio.Channel:
    """The one place where a channel to one address is made."""
    options: list[tuple[str, Any]] = [
        ("grpc.service_config", _BALANCED),
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        # A peer that is stopped, or a link that swallows everything, is noticed after 5 to 10 s of silence. The
        # ping timeout is gRPC's own pings', which hold keepalive's back while they wait: a minute by default.
        ("grpc.keepalive_time_ms", 5_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.http2.ping_timeout_ms", 5_000),
        ("grpc.http2.max_pings_without_data", 0),  # no limit of ours: the server's is 2 s
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 3_000),  # which is how long one attempt to connect may take
        ("grpc.max_reconnect_backoff_ms", 1_000),
    ]
    if certificates is None:
        return grpc.aio.insecure_channel(address, options=options)
    options.extend(certificates.options)
    secured = ReloadingChannel(certificates, lambda shown: grpc.aio.secure_channel(address, shown, options=options))
    return cast(grpc.aio.Channel, secured)
