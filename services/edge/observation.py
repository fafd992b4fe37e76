"""The pipeline as seen from outside: its answers counted and told to the span, its prompts logged if so set."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

import structlog

from services.chassis.tracing import Attribute, annotate, recording
from services.edge.chat import Delta, Request
from services.edge.metrics import EdgeMetrics
from services.edge.receipt import Receipt


class Answering(Protocol):
    """What is observed: see `Pipeline`."""

    def complete(self, request: Request) -> AsyncGenerator[Delta | Receipt, None]:
        """Deltas, then one receipt."""


class ObservedPipeline:
    """A pipeline whose every answer leaves metrics and attributes; the only place that ever logs a prompt."""

    def __init__(self, pipeline: Answering, metrics: EdgeMetrics, log_prompts: bool) -> None:
        self._pipeline = pipeline
        self._metrics = metrics
        self._log_prompts = log_prompts
        self._log = structlog.get_logger("edge")
        if log_prompts:
            self._log.warning("prompts are logged", because="edge.log_prompts is true")

    async def complete(self, request: Request) -> AsyncGenerator[Delta | Receipt, None]:
        """As the pipeline."""
        if self._log_prompts:
            turns = [{"role": message.role, "content": message.content} for message in request.messages]
            self._log.info("prompt", messages=turns)
        self._metrics.begin()
        try:
            async with aclosing(self._pipeline.complete(request)) as events:
                async for event in events:
                    if isinstance(event, Receipt):
                        self._metrics.answered(event)
                        if recording():
                            annotate(_asked(request) | _told(event))
                    yield event
        finally:
            self._metrics.end()


def _asked(request: Request) -> dict[str, Attribute | None]:
    """The request by OpenTelemetry's GenAI conventions; what stands in it as text is left out."""
    sampling, allowed = request.sampling, request.objective.allowed_models
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "fulcrum",
        "gen_ai.request.stream": True,
        "gen_ai.request.model": allowed[0] if len(allowed) == 1 else None,
        "gen_ai.request.max_tokens": sampling.max_output_tokens,
        "gen_ai.request.temperature": sampling.temperature,
        "gen_ai.request.top_p": sampling.top_p,
        "gen_ai.request.top_k": sampling.top_k,
        "gen_ai.request.seed": sampling.seed,
    }


def _told(receipt: Receipt) -> dict[str, Attribute | None]:
    """The receipt, by the same conventions where they have a name for it."""
    outcome, cost, usage = receipt.outcome, receipt.cost, receipt.outcome.finish.usage
    attributes: dict[str, Attribute | None] = {
        "gen_ai.response.model": outcome.model,
        "gen_ai.response.finish_reasons": [outcome.finish.reason.value],
        "gen_ai.response.time_to_first_chunk": receipt.latency.first_token_s,
        "fulcrum.cache.result": outcome.cache.result,
        "fulcrum.route.decision_id": outcome.route.decision_id or None,
        "fulcrum.route.predicted_loss": outcome.route.predicted_loss,
        "fulcrum.max_quality_loss": receipt.quality.max_quality_loss,
        "fulcrum.degradations": [f"{one.part} {one.status}" for one in outcome.degradations] or None,
        "fulcrum.cost.priced": cost is not None,
    }
    if usage:
        attributes["gen_ai.usage.input_tokens"] = usage.input_tokens
        attributes["gen_ai.usage.output_tokens"] = usage.output_tokens
        attributes["gen_ai.usage.cache_read.input_tokens"] = usage.cached_input_tokens
        attributes["gen_ai.usage.cache_creation.input_tokens"] = usage.cache_write_tokens
    if cost:
        attributes["fulcrum.cost.baseline_nano_usd"] = cost.baseline_nano_usd
        attributes["fulcrum.cost.actual_nano_usd"] = cost.actual_nano_usd
        for lever in cost.levers:
            attributes[f"fulcrum.saved.{lever.lever}_nano_usd"] = lever.saved_nano_usd
    return attributes
