"""Channels to other services: retries under a budget, keepalive, balancing, bounded messages."""

import json

import grpc
from pydantic import BaseModel, ConfigDict, Field

_SERVICE_CONFIG = json.dumps(
    {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.05s",
                    "maxBackoff": "0.5s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
        "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
    }
)


class BackendSettings(BaseModel):
    """Where one service is reached."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    address: str = Field("in-process", description="'in-process', or host:port, dns:///name:port, unix:path")
    timeout_s: float = Field(30.0, gt=0, description="longest that one call may take")

    @property
    def in_process(self) -> bool:
        """Whether the service lives in this very process."""
        return self.address == "in-process"


def connect(address: str, max_message_bytes: int = 16 * 1024 * 1024) -> grpc.aio.Channel:
    """A channel to `address`; it connects by itself, and again after a failure."""
    return grpc.aio.insecure_channel(
        address,
        options=[
            ("grpc.service_config", _SERVICE_CONFIG),
            ("grpc.enable_retries", 1),
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", max_message_bytes),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2_000),
        ],
    )
