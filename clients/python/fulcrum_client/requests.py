"""From what a caller writes to the messages of the contract, the same for both clients."""

import datetime
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypedDict, Unpack

from fulcrum.edge.v1 import edge_service_pb2 as edge_pb
from fulcrum.edge.v1 import receipt_pb2
from fulcrum.executor.v1 import chat_pb2
from fulcrum.router.v1 import objective_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
Turn: TypeAlias = Mapping[str, Any] | tuple[str, str] | chat_pb2.Message
GroupBy: TypeAlias = Literal["tenant", "model", "day"]
Goal: TypeAlias = Literal["cheapest", "best", "fastest"]
_ROLES = {
    "system": chat_pb2.ROLE_SYSTEM,
    "user": chat_pb2.ROLE_USER,
    "assistant": chat_pb2.ROLE_ASSISTANT,
    "tool": chat_pb2.ROLE_TOOL,
}
_GOALS = {
    "cheapest": objective_pb2.GOAL_CHEAPEST,
    "best": objective_pb2.GOAL_BEST,
    "fastest": objective_pb2.GOAL_FASTEST,
}
_DIMENSIONS = {
    "tenant": edge_pb.USAGE_DIMENSION_TENANT,
    "model": edge_pb.USAGE_DIMENSION_MODEL,
    "day": edge_pb.USAGE_DIMENSION_DAY,
}


class Options(TypedDict, total=False):
    """What a request may ask for; whatever is left out means the operator's settings."""

    max_quality_loss: float  # share of requests that may be answered worse than the strong model would
    confidence: float  # with which that is promised
    max_cost_nano_usd: int  # most it may be expected to cost, in billionths of a dollar
    max_latency_s: float  # longest it should take
    allowed_models: Sequence[str]
    denied_models: Sequence[str]
    goal: Goal  # what to optimise within all limits
    whole_answer: bool  # none of it need come before its end, so a cheaper model may be asked first
    max_output_tokens: int
    temperature: float
    top_p: float
    top_k: int
    seed: int
    stop: Sequence[str]
    json_schema: str | Mapping[str, Any]  # what the answer must satisfy: JSON text or what becomes it
    top_logprobs: int  # tell tokens' probabilities, and of so many likeliest tokens in each place
    tools: Sequence[chat_pb2.Tool]
    no_cache: bool  # do not answer from the cache
    no_store: bool  # do not keep the answer
    max_age_s: float  # oldest answer that will do
    ttl_s: float  # how long the answer may be served to others
    only_if_cached: bool  # answer from the cache or not at all
    store_sampled: bool  # keep the answer though it was sampled hot
    session_id: str
    request_id: str  # the caller's own; one is made where there is none


def complete_request(prompt: str | Sequence[Turn], **options: Unpack[Options]) -> edge_pb.CompleteRequest:
    """The request for one answer.

    Args:
        prompt: the user's words, or the turns of a conversation, oldest first: mappings with `role` and `content`,
            pairs of both, or messages of the contract.
        options: see Options.

    Raises:
        TypeError: an unknown option.
        ValueError: a role or a goal that is none.
    """
    unknown = options.keys() - Options.__annotations__.keys()
    if unknown:
        raise TypeError(f"got {', '.join(sorted(unknown))}, expected some of {', '.join(Options.__annotations__)}")
    turns: Sequence[Turn] = [("user", prompt)] if isinstance(prompt, str) else prompt
    request = edge_pb.CompleteRequest(
        messages=[_message(turn) for turn in turns],
        tools=options.get("tools", ()),
        session_id=options.get("session_id", ""),
        request_id=options.get("request_id") or uuid.uuid4().hex,
    )
    objective = objective_pb2.Objective(
        max_quality_loss=options.get("max_quality_loss"),
        confidence=options.get("confidence"),
        max_cost_nano_usd=options.get("max_cost_nano_usd"),
        max_latency=_duration(options.get("max_latency_s")),
        allowed_models=options.get("allowed_models", ()),
        denied_models=options.get("denied_models", ()),
        goal=_goal(options.get("goal")),
        whole_answer=options.get("whole_answer", False),
    )
    sampling = chat_pb2.Sampling(
        max_output_tokens=options.get("max_output_tokens"),
        temperature=options.get("temperature"),
        top_p=options.get("top_p"),
        top_k=options.get("top_k"),
        seed=options.get("seed"),
        stop=options.get("stop", ()),
        response_format=_format(options.get("json_schema")),
        top_logprobs=options.get("top_logprobs"),
    )
    request.objective.CopyFrom(objective)
    request.sampling.CopyFrom(sampling)
    request.cache_control.CopyFrom(
        edge_pb.CacheControl(
            no_cache=options.get("no_cache", False),
            no_store=options.get("no_store", False),
            max_age=_duration(options.get("max_age_s")),
            ttl=_duration(options.get("ttl_s")),
            only_if_cached=options.get("only_if_cached", False),
            store_sampled=options.get("store_sampled", False),
        )
    )
    return request


def usage_request(
    start: datetime.datetime | None, end: datetime.datetime | None, tenant: str, group_by: Sequence[GroupBy]
) -> edge_pb.GetUsageRequest:
    """The request for the first page of sums; times without a zone are UTC."""
    return edge_pb.GetUsageRequest(
        start_time=_timestamp(start),
        end_time=_timestamp(end),
        tenant=tenant,
        group_by=[_DIMENSIONS[name] for name in group_by],
    )


def feedback_request(receipt: receipt_pb2.Receipt, right: bool) -> edge_pb.FeedbackRequest:
    """The request that tells whether the answer with this receipt was right."""
    return edge_pb.FeedbackRequest(
        lookup_id=receipt.cache.lookup_id,
        decision_id=receipt.route.decision_id,
        model=receipt.model,
        verdict=edge_pb.VERDICT_RIGHT if right else edge_pb.VERDICT_WRONG,
    )


class Pages:
    """Every page of one question, put together: ask what is `wanted`, `take` what came, until nothing is."""

    def __init__(self, request: edge_pb.GetUsageRequest) -> None:
        self._wanted: edge_pb.GetUsageRequest | None = request
        self._groups: list[edge_pb.UsageGroup] = []
        self.whole = edge_pb.GetUsageResponse()

    def wanted(self) -> edge_pb.GetUsageRequest | None:
        """The next question, None after the last."""
        return self._wanted

    def take(self, page: edge_pb.GetUsageResponse) -> None:
        """Adds the answer to it."""
        self._groups += page.groups
        if page.next_page_token and self._wanted:
            self._wanted.page_token = page.next_page_token
            return
        self._wanted, self.whole = None, page
        del self.whole.groups[:]
        self.whole.groups.extend(self._groups)


def _message(turn: Turn) -> chat_pb2.Message:
    if isinstance(turn, chat_pb2.Message):
        return turn
    given: dict[str, Any] = (
        dict(turn) if isinstance(turn, Mapping) else dict(zip(("role", "content"), turn, strict=True))
    )
    role = given.pop("role", "")
    if role not in _ROLES:
        raise ValueError(f"role: got {role!r}, expected one of {', '.join(_ROLES)}")
    return chat_pb2.Message(role=_ROLES[role], **given)


def _goal(name: str | None) -> objective_pb2.Goal | None:
    if name is not None and name not in _GOALS:
        raise ValueError(f"goal: got {name!r}, expected one of {', '.join(_GOALS)}")
    return None if name is None else _GOALS[name]


def _format(schema: str | Mapping[str, Any] | None) -> chat_pb2.ResponseFormat | None:
    if schema is None:
        return None
    return chat_pb2.ResponseFormat(json_schema=schema if isinstance(schema, str) else json.dumps(schema))


def _duration(seconds: float | None) -> Duration | None:
    if seconds is None:
        return None
    message = Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message


def _timestamp(moment: datetime.datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    message = Timestamp()
    message.FromDatetime(moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC))
    return message
