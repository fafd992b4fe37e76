"""Which models may answer at all: names, tools, context, time and money, each refusal saying what would do."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from services.chassis.errors import FailedPrecondition, FulcrumError, InvalidField, NotFound
from services.router.catalogue import Catalogue, Model
from services.router.prices import ListPrice, MachinePrice
from services.router.query import Query


class Candidates(NamedTuple):
    """Names of models, and what this query is expected to take on each: nothing where unpriced, or of unknown speed.

    Costs and times may also be of models that were left out for them. `fresh_cost_nano_usd` is the cost if it held
    nothing of the prompt.
    """

    names: Sequence[str]
    cost_nano_usd: Mapping[str, int]
    fresh_cost_nano_usd: Mapping[str, int]
    seconds: Mapping[str, float]


class Eligibility:
    """The hard limits of a query on the models of a catalogue."""

    def __init__(self, catalogue: Catalogue, expected_output_tokens: int) -> None:
        """`expected_output_tokens` are assumed of an answer where the catalogue says nothing of the model's.

        Fewer are where the query allows fewer.
        """
        self._catalogue = catalogue
        self._expected_output_tokens = expected_output_tokens
        self.default_model = catalogue.default.name
        self._flat = {
            one.name: (*rates, one.bytes_per_token, self._said(one))
            for one in catalogue.models
            if isinstance(one.price, ListPrice) and (rates := one.price.flat_rates)
        }
        self._timed = any(one.speed or isinstance(one.price, MachinePrice) for one in catalogue.models)
        self._bytes_per_token = {one.bytes_per_token for one in catalogue.models}
        self._least_context = min(one.context_tokens for one in catalogue.models)

    def candidates(self, query: Query) -> Candidates:
        """The models that may answer, never none, cheapest first.

        Raises:
            NotFound: a name that the catalogue lacks.
            FailedPrecondition: no model takes tools, or none meets the objective.
            InvalidField: the prompt and its answer fit no model's context.
        """
        counted, names = self._input_tokens(query), self._named(query)
        if query.needs_tools:
            names = self._with_tools(names)
        if max(counted.values()) + (query.max_output_tokens or 1) > self._least_context:
            names = self._within_context(query, names, counted)
        fresh = cost = self._costs(query, names, counted)
        if query.cached_prefix_tokens and query.current_model in fresh:
            cost = fresh | self._cost(query.current_model, query, counted, query.cached_prefix_tokens)
        seconds = self._seconds(query, names, counted) if self._timed or query.speeds else {}
        if query.objective.max_latency_s is not None:
            names = _within_latency(query.objective.max_latency_s, names, seconds)
        if query.objective.max_cost_nano_usd is not None:
            names = _within_cost(query.objective.max_cost_nano_usd, names, cost)
        return Candidates(names, cost, fresh, seconds)

    def able(self, query: Query) -> tuple[str, ...]:
        """Who may answer requests of this caller's wishes, cheapest first, whatever this one's length, cost and tools.

        What differs from prompt to prompt is left out: the promise is about all of them together.
        """
        return self._named(query)

    def excluded(self, query: Query) -> tuple[str, ...]:
        """Who may not, by this caller's wishes."""
        if not query.names_models:
            return ()
        able = self._named(query)
        return tuple(name for name in self._catalogue.names if name not in able)

    @property
    def models(self) -> Sequence[Model]:
        """Of the catalogue, cheapest first, each with how many tokens its answer is expected to have."""
        return [replace(one, expected_output_tokens=self._said(one)) for one in self._catalogue.models]

    def _said(self, model: Model) -> int:
        return model.expected_output_tokens or self._expected_output_tokens

    def _output_tokens(self, model: Model, query: Query) -> int:
        return min(self._said(model), query.max_output_tokens or sys.maxsize)

    def _named(self, query: Query) -> tuple[str, ...]:
        objective = query.objective
        if not query.names_models:
            return self._catalogue.names
        self._known("candidates", query.candidates)
        self._known("objective.allowed_models", objective.allowed_models)
        self._known("objective.denied_models", objective.denied_models)
        offered = [name for name in self._catalogue.names if not query.candidates or name in query.candidates]
        allowed = [name for name in offered if not objective.allowed_models or name in objective.allowed_models]
        if not allowed:
            listed = ", ".join(objective.allowed_models)
            raise _impossible("objective.allowed_models", listed, f"one of {', '.join(offered)}")
        left = tuple(name for name in allowed if name not in objective.denied_models)
        if not left:
            listed = ", ".join(objective.denied_models)
            raise _impossible("objective.denied_models", listed, f"one of {', '.join(allowed)} not denied")
        return left

    def _known(self, field: str, names: Iterable[str]) -> None:
        for name in names:
            if name not in self._catalogue:
                raise NotFound(field, name, f"one of {', '.join(self._catalogue.names)}", reason="MODEL_UNKNOWN")

    def _input_tokens(self, query: Query) -> Mapping[float, int]:
        """Of the prompt, by how many bytes a token has."""
        given, text_bytes = query.input_tokens, query.input_bytes or len(query.text.encode("utf-8", "replace"))
        return {each: given or round(text_bytes / each) or 1 for each in self._bytes_per_token}

    def _costs(self, query: Query, names: Iterable[str], counted: Mapping[float, int]) -> dict[str, int]:
        """Of those priced, if they held nothing of the prompt; flat prices at once, in half the time of asking each."""
        most, flat = query.max_output_tokens or sys.maxsize, self._flat
        found = {}
        for name in names:
            if name in flat:
                of_input, of_output, bytes_per_token, said = flat[name]
                usd = of_input * counted[bytes_per_token] + of_output * (said if said < most else most)
                found[name] = round(usd * 1_000)
            else:
                found |= self._cost(name, query, counted)
        return found

    def _cost(self, name: str, query: Query, counted: Mapping[float, int], held_tokens: int = 0) -> dict[str, int]:
        """Of one that holds so many tokens of the prompt; nothing where it is unpriced."""
        model = self._catalogue[name]
        output_tokens = self._output_tokens(model, query)
        cost = model.cost_nano_usd(counted[model.bytes_per_token], output_tokens, held_tokens)
        return {} if cost is None else {name: cost}

    def _seconds(self, query: Query, names: Iterable[str], counted: Mapping[float, int]) -> Mapping[str, float]:
        """Of those whose speed is known, as measured, said or, on a machine of ours, of the reference engine."""
        found = {}
        for name in names:
            model = self._catalogue[name]
            output_tokens = self._output_tokens(model, query)
            if speed := query.speeds.get(name, model.speed):
                found[name] = speed.seconds(output_tokens)
            elif isinstance(model.price, MachinePrice):
                tokens = counted[model.bytes_per_token]
                held = min(query.cached_prefix_tokens, tokens) if name == query.current_model else 0
                found[name] = model.price.seconds(tokens, output_tokens, held)
        return found

    def _with_tools(self, names: Sequence[str]) -> tuple[str, ...]:
        found = tuple(name for name in names if self._catalogue[name].supports_tools)
        if not found:
            listed = ", ".join(names)
            raise FailedPrecondition("needs_tools", "true", f"a model that takes tools; of {listed} none does")
        return found

    def _within_context(self, query: Query, names: Sequence[str], counted: Mapping[float, int]) -> tuple[str, ...]:
        answer, models = query.max_output_tokens or 1, [self._catalogue[name] for name in names]
        left = {one.name: one.context_tokens - counted[one.bytes_per_token] for one in models}
        found = tuple(name for name in names if answer <= left[name])
        if not found:
            widest = max(models, key=lambda one: left[one.name])
            raise InvalidField(
                "input_tokens",
                f"{counted[widest.bytes_per_token]} tokens and {answer} of the answer",
                f"at most {widest.context_tokens} tokens together ({widest.name})",
                reason="PROMPT_TOO_LONG",
            )
        return found


def _within_latency(limit: float, names: Sequence[str], seconds: Mapping[str, float]) -> tuple[str, ...]:
    """Models whose time is not known are kept."""
    found = tuple(name for name in names if name not in seconds or seconds[name] <= limit)
    if not found:
        fastest = min(names, key=seconds.__getitem__)
        expected = f"at least {seconds[fastest]:.3f} s ({fastest})"
        raise _impossible("objective.max_latency", f"{limit} s", expected)
    return found


def _within_cost(limit: int, names: Sequence[str], cost: Mapping[str, int]) -> tuple[str, ...]:
    """Models whose cost is not known are not."""
    priced = [name for name in names if name in cost]
    if not priced:
        raise _impossible("objective.max_cost_nano_usd", limit, "no limit: these models are unpriced")
    found = tuple(name for name in priced if cost[name] <= limit)
    if not found:
        cheapest = min(priced, key=cost.__getitem__)
        raise _impossible("objective.max_cost_nano_usd", limit, f"at least {cost[cheapest]:.0f} ({cheapest})")
    return found


def _impossible(field: str, value: object, expected: str) -> FulcrumError:
    return FailedPrecondition(field, value, expected, reason="OBJECTIVE_IMPOSSIBLE")
