"""Channels to other services: retries under a budget, keepalive, balancing, bounded messages."""

import json
from typing import Any, cast

import grpc
from pydantic import BaseModel, ConfigDict, Field

from services.chassis.access import ClientTlsSettings
from services.chassis.reloading_channel import ReloadingChannel
from services.chassis.tls import ClientCertificates

_BALANCED: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
# One more try at once, under a budget: enough when one of several replicas dies, too little to multiply load.
_RETRIED = {
    **_BALANCED,
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 2,
                "initialBackoff": "0.01s",
                "maxBackoff": "0.05s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
}


class BackendSettings(BaseModel):
    """Where one service is reached."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    address: str = Field("in-process", description="'in-process', or host:port, dns:///name:port, unix:path")
    timeout_s: float = Field(30.0, gt=0, description="longest that one call may take")
    tls: ClientTlsSettings | None = Field(None, description="how the connection is secured; no TLS where unset")

    @property
    def in_process(self) -> bool:
        """Whether the service lives in this very process."""
        return self.address == "in-process"


def connect(
    address: str,
    retries: bool = False,
    max_message_bytes: int = 16 * 1024 * 1024,
    certificates: ClientCertificates | None = None,
) -> grpc.aio.Channel:
    """A channel to `address`; it connects by itself, and again after a failure.

    Args:
        address: host:port, dns:///name:port or unix:path.
        retries: whether an UNAVAILABLE call is tried once more; never for what runs a model.
        max_message_bytes: largest message sent or received.
        certificates: what secures the connection; no TLS where None.
    """
    options: list[tuple[str, Any]] = [
        ("grpc.service_config", json.dumps(_RETRIED if retries else _BALANCED)),
        ("grpc.enable_retries", int(retries)),
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
    ]
    if certificates is None:
        return grpc.aio.insecure_channel(address, options=options)
    options.extend(certificates.options)
    reloading = ReloadingChannel(
        certificates, lambda credentials: grpc.aio.secure_channel(address, credentials, options=options)
    )
    return cast(grpc.aio.Channel, reloading)
