"""Who may answer while the router cannot be asked: the models that a request's limits leave, by what it told before."""

from collections.abc import Iterable, Mapping, Sequence

from services.edge.chat import Request, Usage
from services.edge.ports import CatalogueModel, Speed
from services.edge.price import MachinePrice


def by_strength(
    models: Iterable[CatalogueModel], request: Request, speeds: Mapping[str, Speed]
) -> Sequence[CatalogueModel]:
    """Those that keep the limits, as the router would count them: the strong model, then by price, the dearest first.

    Where none takes the tools, or the prompt by its estimated tokens, all are left to say so more exactly.
    """
    left = [one for one in models if request.objective.allows(one.name) and _within(one, request, speeds)]
    able = [one for one in left if (one.supports_tools or not request.tools) and _fits(one, request)]
    return sorted(able or left, key=lambda one: (not one.is_default, -(_cost(one, request) or 0)))


def _within(model: CatalogueModel, request: Request, speeds: Mapping[str, Speed]) -> bool:
    """Whether cost and time are; an unknown time is, an unknown cost is not."""
    objective = request.objective
    cost, seconds = _cost(model, request), _seconds(model, request, speeds)
    affordable = objective.max_cost_nano_usd is None or (cost is not None and cost <= objective.max_cost_nano_usd)
    return affordable and (objective.max_latency_s is None or seconds is None or seconds <= objective.max_latency_s)


def _fits(model: CatalogueModel, request: Request) -> bool:
    return _tokens(model, request).input_tokens + (request.sampling.max_output_tokens or 1) <= model.context_tokens


def _cost(model: CatalogueModel, request: Request) -> int | None:
    return None if model.price is None else round(model.price.full(_tokens(model, request)))


def _seconds(model: CatalogueModel, request: Request, speeds: Mapping[str, Speed]) -> float | None:
    expected = _tokens(model, request)
    if speed := speeds.get(model.name, model.speed):
        return speed.first_token_s + expected.output_tokens / speed.output_tokens_per_second
    timed = model.price if isinstance(model.price, MachinePrice) else None
    return timed.reference_s(expected.input_tokens, expected.output_tokens) if timed else None


def _tokens(model: CatalogueModel, request: Request) -> Usage:
    most = request.sampling.max_output_tokens
    return Usage(
        input_tokens=max(1, round(request.size_bytes / model.bytes_per_token)),
        output_tokens=min(most or model.expected_output_tokens, model.expected_output_tokens),
    )
