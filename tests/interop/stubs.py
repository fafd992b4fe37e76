"""The probe that is Python's generated stubs, with nothing around them."""

from collections.abc import Mapping
from typing import Any

import grpc
from fulcrum.edge.v1 import edge_service_pb2 as edge_pb
from google.protobuf import empty_pb2
from google.protobuf.json_format import MessageToDict, ParseDict
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.interop.outcome import Outcome

_METHODS: dict[str, tuple[type[Any], type[Any], bool]] = {
    "fulcrum.edge.v1.EdgeService/Complete": (edge_pb.CompleteRequest, edge_pb.CompleteResponse, True),
    "fulcrum.edge.v1.EdgeService/GetUsage": (edge_pb.GetUsageRequest, edge_pb.GetUsageResponse, False),
    "grpc.health.v1.Health/Check": (health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse, False),
}
_DETAILS = {
    cls.DESCRIPTOR.full_name: cls
    for cls in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo)
}


class StubProbe:
    """grpc.aio and the generated messages."""

    async def call(
        self,
        address: str,
        method: str,
        request: Mapping[str, Any],
        *,
        metadata: Mapping[str, str] | None = None,
        timeout_s: float = 30.0,
        cancel_after: int | None = None,
    ) -> Outcome:
        """As Probe.call."""
        asked, answered, streams = _METHODS.get(method, (empty_pb2.Empty, empty_pb2.Empty, False))
        codec = {"request_serializer": asked.SerializeToString, "response_deserializer": answered.FromString}
        messages: list[dict[str, Any]] = []
        async with grpc.aio.insecure_channel(address) as channel:
            made: Any = channel.unary_stream if streams else channel.unary_unary
            told = {"timeout": timeout_s, "metadata": tuple((metadata or {}).items())}
            call = made(f"/{method}", **codec)(ParseDict(dict(request), asked()), **told)
            try:
                if not streams:
                    return Outcome([_plain(await call)])
                async for message in call:
                    messages.append(_plain(message))
                    if len(messages) == cancel_after:
                        call.cancel()
                        return Outcome(messages, (await call.code()).name)
            except grpc.aio.AioRpcError as error:
                return Outcome(messages, error.code().name, error.details() or "", _details(error))
        return Outcome(messages)

    async def services(self, address: str) -> list[str]:
        """As Probe.services."""
        async with grpc.aio.insecure_channel(address) as channel:
            stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)  # type: ignore[arg-type]
            asked = reflection_pb2.ServerReflectionRequest(list_services="")
            async for answer in stub.ServerReflectionInfo(iter([asked])):
                return [service.name for service in answer.list_services_response.service]
        return []


def _plain(message: Any) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True)


def _details(error: grpc.aio.AioRpcError) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for packed in status_pb2.Status.FromString(value).details:
                message = _DETAILS[packed.TypeName()].FromString(packed.value)
                found[packed.TypeName().rpartition(".")[2]] = _plain(message)
    return found
