"""EdgeService on the wire: requests in, deltas and receipts out."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from fulcrum.edge.v1 import edge_service_pb2 as edge_pb
from fulcrum.edge.v1 import receipt_pb2
from fulcrum.edge.v1.edge_service_pb2_grpc import EdgeServiceServicer
from google.protobuf.timestamp_pb2 import Timestamp

from services.chassis.call import current, new_request_id
from services.chassis.errors import InvalidField
from services.edge import messages
from services.edge.observation import Answering
from services.edge.receipt import LEVERS, Cost, Receipt
from services.edge.usage import Totals, UsageBook

_RESULTS = {
    "exact_hit": receipt_pb2.CACHE_RESULT_EXACT_HIT,
    "semantic_hit": receipt_pb2.CACHE_RESULT_SEMANTIC_HIT,
    "shared": receipt_pb2.CACHE_RESULT_SHARED,
    "miss": receipt_pb2.CACHE_RESULT_MISS,
    "bypassed": receipt_pb2.CACHE_RESULT_BYPASSED,
}
_LEVERS = {
    "routing": receipt_pb2.LEVER_ROUTING,
    "answer_reuse": receipt_pb2.LEVER_ANSWER_REUSE,
    "prefix_reuse": receipt_pb2.LEVER_PREFIX_REUSE,
    "execution": receipt_pb2.LEVER_EXECUTION,
}
_PARTS = {
    "encoder": receipt_pb2.PART_ENCODER,
    "cache": receipt_pb2.PART_CACHE,
    "router": receipt_pb2.PART_ROUTER,
    "model": receipt_pb2.PART_MODEL,
}
_LOCAL_TENANT = "local"


class EdgeServicer(EdgeServiceServicer):
    """Answers clients; the tenant is what a trusted proxy's metadata says, never what a message claims."""

    def __init__(self, pipeline: Answering, usage: UsageBook, tenant_header: str | None) -> None:
        self._pipeline = pipeline
        self._usage = usage
        self._tenant_header = tenant_header

    async def Complete(self, request: edge_pb.CompleteRequest, context: Any) -> AsyncIterator[edge_pb.CompleteResponse]:
        """Streams the answer, then its receipt."""
        tenant = self._tenant(context)
        call = current()
        asked = messages.request(request, tenant, call.request_id if call else new_request_id())
        async with aclosing(self._pipeline.complete(asked)) as events:
            async for event in events:
                if isinstance(event, Receipt):
                    self._usage.add(tenant, event)
                    yield edge_pb.CompleteResponse(receipt=_receipt(event))
                else:
                    yield messages.delta_message(event)

    async def GetUsage(self, _: edge_pb.GetUsageRequest, context: Any) -> edge_pb.GetUsageResponse:
        """Sums of the tenant's receipts since this process started."""
        tenant = self._tenant(context)
        start = Timestamp()
        start.FromNanoseconds(int(self._usage.start_time * 1e9))
        models = [
            edge_pb.ModelUsage(model=model, totals=_totals(totals))
            for model, totals in self._usage.by_model(tenant).items()
        ]
        return edge_pb.GetUsageResponse(start_time=start, total=_totals(self._usage.total(tenant)), models=models)

    def _tenant(self, context: Any) -> str:
        if self._tenant_header is None:
            return _LOCAL_TENANT
        given = [value for key, value in context.invocation_metadata() or () if key == self._tenant_header]
        if len(given) != 1 or not isinstance(given[0], str) or not 0 < len(given[0]) <= 200:
            raise InvalidField(
                f"metadata.{self._tenant_header}", f"{len(given)} values", "one tenant of 1 to 200 characters"
            )
        return given[0]


def _receipt(receipt: Receipt) -> receipt_pb2.Receipt:
    outcome, cache, route, quality = receipt.outcome, receipt.outcome.cache, receipt.outcome.route, receipt.quality
    return receipt_pb2.Receipt(
        request_id=receipt.request_id,
        model=outcome.model,
        finish_reason=messages.FINISH[outcome.finish.reason],
        usage=messages.usage_message(outcome.finish.usage),
        cache=receipt_pb2.CacheOutcome(
            result=_RESULTS[cache.result],
            lookup_id=cache.lookup_id,
            probability=cache.probability,
            similarity=cache.similarity,
            explanation=cache.explanation,
        ),
        route=receipt_pb2.RouteOutcome(
            decision_id=route.decision_id,
            explanation=route.explanation,
            predicted_quality=route.predicted_quality,
            predicted_loss=route.predicted_loss,
        ),
        cost=_cost(receipt.cost),
        latency=receipt_pb2.Latency(
            first_token=messages.duration(receipt.latency.first_token_s),
            total=messages.duration(receipt.latency.total_s),
            model=messages.duration(receipt.latency.model_s),
        ),
        quality=receipt_pb2.QualityBudget(
            max_quality_loss=quality.max_quality_loss,
            cache_share=quality.cache_share,
            router_share=quality.router_share,
        ),
        degradations=[
            receipt_pb2.Degradation(part=_PARTS[d.part], status=d.status, consequence=d.consequence)
            for d in outcome.degradations
        ],
    )


def _cost(cost: Cost | None) -> receipt_pb2.Cost:
    if cost is None:
        return receipt_pb2.Cost(priced=False)
    return receipt_pb2.Cost(
        priced=True,
        baseline_nano_usd=cost.baseline_nano_usd,
        baseline_model=cost.baseline_model,
        levers=[
            receipt_pb2.LeverSaving(lever=_LEVERS[s.lever], factor=s.factor, saved_nano_usd=s.saved_nano_usd)
            for s in cost.levers
        ],
        actual_nano_usd=cost.actual_nano_usd,
    )


def _totals(totals: Totals) -> edge_pb.UsageTotals:
    savings = zip(LEVERS, totals.factors(), totals.saved_nano_usd, strict=True)
    return edge_pb.UsageTotals(
        requests=totals.requests,
        exact_hits=totals.results.get("exact_hit", 0),
        semantic_hits=totals.results.get("semantic_hit", 0),
        shared=totals.results.get("shared", 0),
        usage=messages.usage_message(totals.usage),
        unpriced_requests=totals.unpriced_requests,
        baseline_nano_usd=totals.baseline_nano_usd,
        levers=[
            receipt_pb2.LeverSaving(lever=_LEVERS[lever], factor=factor, saved_nano_usd=saved)
            for lever, factor, saved in savings
        ],
        actual_nano_usd=totals.actual_nano_usd,
    )
