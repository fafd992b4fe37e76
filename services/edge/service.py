"""EdgeService on the wire: requests in, deltas and receipts out."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from fulcrum.edge.v1 import edge_service_pb2 as edge_pb
from fulcrum.edge.v1 import receipt_pb2
from fulcrum.edge.v1.edge_service_pb2_grpc import EdgeServiceServicer
from google.protobuf.timestamp_pb2 import Timestamp

from services.chassis.call import caller, current, new_request_id
from services.chassis.errors import InvalidField, PermissionDenied
from services.edge import messages
from services.edge.feedback import Feedback, Word
from services.edge.ledger import Ledger
from services.edge.ledger_file import DAY_NS
from services.edge.ledger_sums import FIRST, Group
from services.edge.observation import Answering
from services.edge.receipt import LEVERS, Cost, Receipt
from services.edge.usage import Totals

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
_DIMENSIONS = {
    edge_pb.USAGE_DIMENSION_TENANT: "tenant",
    edge_pb.USAGE_DIMENSION_DAY: "day",
    edge_pb.USAGE_DIMENSION_MODEL: "model",
}
_DEFAULT_PAGE = 100
_DAY_S, _LAST_DAY = 86_400, 100_000


class EdgeServicer(EdgeServiceServicer):
    """Answers clients; the tenant is the caller's, never what a message claims."""

    def __init__(self, pipeline: Answering, ledger: Ledger, feedback: Feedback) -> None:
        self._pipeline = pipeline
        self._ledger = ledger
        self._feedback = feedback

    async def Complete(self, request: edge_pb.CompleteRequest, context: Any) -> AsyncIterator[edge_pb.CompleteResponse]:
        """Streams the answer, then its receipt."""
        who, call = caller(), current()
        asked = messages.request(request, who.tenant, call.request_id if call else new_request_id(), who.principal)
        async with aclosing(self._pipeline.complete(asked)) as events:
            async for event in events:
                if isinstance(event, Receipt):
                    yield edge_pb.CompleteResponse(receipt=_receipt(event))
                else:
                    yield messages.delta_message(event)

    async def GetUsage(self, request: edge_pb.GetUsageRequest, context: Any) -> edge_pb.GetUsageResponse:
        """Sums of the ledger, all together, by model, and as the request splits them."""
        tenant, days = _whose(request.tenant), _days(request)
        by = frozenset(_DIMENSIONS[dimension] for dimension in request.group_by)
        size, after = request.page_size or _DEFAULT_PAGE, _place(request.page_token)

        total, models, groups, unanswered = await self._ledger.read(
            lambda sums: sums.usage(tenant, days, by, after, size + 1)
        )
        start = Timestamp()
        start.FromNanoseconds(max(int(self._ledger.start_time * 1e9), days[0] * DAY_NS))
        return edge_pb.GetUsageResponse(
            start_time=start,
            total=_totals(total),
            models=[edge_pb.ModelUsage(model=one.model, totals=_totals(one.totals)) for one in models],
            groups=[_group(one) for one in groups[:size]],
            next_page_token=_token(groups[size - 1]) if len(groups) > size else "",
            unanswered=[
                edge_pb.UnansweredUsage(
                    kind=f"UNANSWERED_KIND_{one.state.upper()}",
                    executions=one.executions,
                    actual_nano_usd=one.actual_nano_usd,
                )
                for one in unanswered
            ],
        )

    async def Feedback(self, request: edge_pb.FeedbackRequest, context: Any) -> edge_pb.FeedbackResponse:
        """Hands the caller's word on an answer to cache and router."""
        who, right = caller(), request.verdict == edge_pb.VERDICT_RIGHT
        word = Word(who.tenant, who.principal, request.lookup_id, request.decision_id, request.model, right)
        await self._feedback.tell(word)
        return edge_pb.FeedbackResponse()


def _receipt(receipt: Receipt) -> receipt_pb2.Receipt:
    outcome, cache, route, quality = receipt.outcome, receipt.outcome.cache, receipt.outcome.route, receipt.quality
    return receipt_pb2.Receipt(
        receipt_id=receipt.receipt_id,
        attempts=outcome.attempts,
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
            not_kept=f"NOT_KEPT_{cache.not_kept.upper()}" if cache.not_kept else None,
        ),
        route=receipt_pb2.RouteOutcome(
            decision_id=route.decision_id,
            explanation=route.explanation,
            predicted_quality=route.predicted_quality,
            predicted_loss=route.predicted_loss,
            alternatives=map(messages.planned_message, route.alternatives),
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
        discarded=[
            receipt_pb2.DiscardedAnswer(
                model=one.model, usage=messages.usage_message(one.spent.usage if one.spent else None)
            )
            for one in outcome.discarded
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
        discarded_nano_usd=cost.discarded_nano_usd,
    )


def _totals(totals: Totals) -> edge_pb.UsageTotals:
    savings = zip(LEVERS, totals.factors(), totals.saved_nano_usd, strict=True)
    return edge_pb.UsageTotals(
        requests=totals.requests,
        exact_hits=totals.exact_hits,
        semantic_hits=totals.semantic_hits,
        shared=totals.shared,
        usage=messages.usage_message(totals.usage),
        unpriced_requests=totals.unpriced_requests,
        baseline_nano_usd=totals.baseline_nano_usd,
        levers=[
            receipt_pb2.LeverSaving(lever=_LEVERS[lever], factor=factor, saved_nano_usd=saved)
            for lever, factor, saved in savings
        ],
        actual_nano_usd=totals.actual_nano_usd,
        abandoned=totals.abandoned,
    )


def _whose(asked: str) -> str | None:
    """The tenant whose sums are asked for, None for all of them together."""
    who = caller()
    if asked and asked != who.tenant and not who.trusted:
        raise PermissionDenied("tenant", asked, f"{who.tenant}, the caller's own")
    return asked or (None if who.trusted else who.tenant)


def _days(request: edge_pb.GetUsageRequest) -> tuple[int, int]:
    """First day since 1970 and the day after the last."""
    first = request.start_time.seconds // _DAY_S if request.HasField("start_time") else 0
    end = -(-request.end_time.seconds // _DAY_S) if request.HasField("end_time") else _LAST_DAY
    first, end = (min(max(day, 0), _LAST_DAY) for day in (first, end))
    if end < first:
        raise InvalidField("end_time", f"day {end} since 1970", f"no earlier than start_time, day {first}")
    return first, end


def _group(group: Group) -> edge_pb.UsageGroup:
    message = edge_pb.UsageGroup(tenant=group.tenant, model=group.model, totals=_totals(group.totals))
    if group.day >= 0:
        message.day.FromNanoseconds(group.day * DAY_NS)
    return message


def _token(last: Group) -> str:
    return base64.urlsafe_b64encode(json.dumps([last.tenant, last.day, last.model]).encode()).decode()


def _place(token: str) -> tuple[str, int, str]:
    if not token:
        return FIRST
    try:
        tenant, day, model = json.loads(base64.urlsafe_b64decode(token))
        place = str(tenant), min(max(int(day), -1), _LAST_DAY), str(model)
        f"{tenant}{model}".encode()  # half a character is none
        return place
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        raise InvalidField("page_token", f"{len(token)} characters", "a next_page_token of GetUsage") from error
