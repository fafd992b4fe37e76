"""Which models may answer at all: names, tools, context, time and money, each refusal saying what would do."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from services.chassis.errors import FailedPrecondition, FulcrumError, InvalidField, NotFound
from services.router.catalogue import Catalogue, Model
from services.router.prices import MachinePrice
from services.router.query import Query

_new = tuple.__new__  # of a named tuple: its own constructor takes twice as long


class Candidate(NamedTuple):
    """A model with what this query is expected to take on it; None where the model is unpriced, or its speed unknown.

    `fresh_cost_nano_usd` is the cost if it held nothing of the prompt.
    """

    name: str
    model: Model
    input_tokens: int
    cost_nano_usd: int | None
    fresh_cost_nano_usd: int | None
    seconds: float | None


class Eligibility:
    """The hard limits of a query on the models of a catalogue."""

    def __init__(self, catalogue: Catalogue, expected_output_tokens: int) -> None:
        """`expected_output_tokens` are assumed of an answer where the catalogue says nothing of the model's.

        Fewer are where the query allows fewer.
        """
        self._catalogue = catalogue
        self._expected_output_tokens = expected_output_tokens
        self._known_of = {
            one.name: (one.name, one, self._said(one), one.bytes_per_token, one.price, _machine(one), one.speed)
            for one in catalogue.models
        }
        self._bytes_per_token = {one.bytes_per_token for one in catalogue.models}
        self._least_context = min(one.context_tokens for one in catalogue.models)

    def candidates(self, query: Query) -> Sequence[Candidate]:
        """The models that may answer, never none.

        Raises:
            NotFound: a name that the catalogue lacks.
            FailedPrecondition: no model takes tools, or none meets the objective.
            InvalidField: the prompt and its answer fit no model's context.
        """
        counted = self._input_tokens(query)
        found = _with_tools(query, self._priced(query, counted))
        if max(counted.values()) + (query.max_output_tokens or 1) > self._least_context:
            found = _within_context(query, found)
        return _within_cost(query, _within_latency(query, found))

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

    def _priced(self, query: Query, counted: Mapping[float, int]) -> list[Candidate]:
        most, measured, current = query.max_output_tokens, query.speeds, query.current_model
        named = map(self._known_of.__getitem__, self._named(query))
        found = []
        for name, model, said, bytes_per_token, price, machine, speed in named:
            input_tokens, cached_tokens = counted[bytes_per_token], 0
            output_tokens = most if most and most < said else said
            cost = fresh = price.cost_nano_usd(input_tokens, output_tokens, 0) if price else None
            if name == current and price:
                cached_tokens = min(query.cached_prefix_tokens, input_tokens)
                cost = price.cost_nano_usd(input_tokens, output_tokens, cached_tokens)
            if measured:
                speed = measured.get(name, speed)
            seconds = None
            if speed:
                seconds = speed.seconds(output_tokens)
            elif machine:
                seconds = machine.seconds(input_tokens, output_tokens, cached_tokens)
            found.append(_new(Candidate, (name, model, input_tokens, cost, fresh, seconds)))
        return found


def _machine(model: Model) -> MachinePrice | None:
    return model.price if isinstance(model.price, MachinePrice) else None


def _with_tools(query: Query, candidates: list[Candidate]) -> list[Candidate]:
    if not query.needs_tools:
        return candidates
    found = [one for one in candidates if one.model.supports_tools]
    if not found:
        names = ", ".join(one.name for one in candidates)
        raise FailedPrecondition("needs_tools", "true", f"a model that takes tools; of {names} none does")
    return found


def _within_context(query: Query, candidates: list[Candidate]) -> list[Candidate]:
    answer = query.max_output_tokens or 1
    found = [one for one in candidates if one.input_tokens + answer <= one.model.context_tokens]
    if not found:
        widest = max(candidates, key=lambda one: one.model.context_tokens - one.input_tokens)
        raise InvalidField(
            "input_tokens",
            f"{widest.input_tokens} tokens and {answer} of the answer",
            f"at most {widest.model.context_tokens} tokens together ({widest.name})",
            reason="PROMPT_TOO_LONG",
        )
    return found


def _within_latency(query: Query, candidates: list[Candidate]) -> list[Candidate]:
    """Models whose time is not known are kept."""
    limit = query.objective.max_latency_s
    if limit is None:
        return candidates
    found = [one for one in candidates if one.seconds is None or one.seconds <= limit]
    if not found:
        fastest, seconds = _least(candidates, lambda one: one.seconds)
        raise _impossible("objective.max_latency", f"{limit} s", f"at least {seconds:.3f} s ({fastest.name})")
    return found


def _within_cost(query: Query, candidates: list[Candidate]) -> list[Candidate]:
    """Models whose cost is not known are not."""
    limit = query.objective.max_cost_nano_usd
    if limit is None:
        return candidates
    found = [one for one in candidates if one.cost_nano_usd is not None and one.cost_nano_usd <= limit]
    if not found:
        if all(one.cost_nano_usd is None for one in candidates):
            raise _impossible("objective.max_cost_nano_usd", limit, "no limit: these models are unpriced")
        cheapest, cost = _least(candidates, lambda one: one.cost_nano_usd)
        raise _impossible("objective.max_cost_nano_usd", limit, f"at least {cost:.0f} ({cheapest.name})")
    return found


def _least(candidates: Iterable[Candidate], amount: Callable[[Candidate], float | None]) -> tuple[Candidate, float]:
    known = [(value, one) for one in candidates if (value := amount(one)) is not None]
    value, one = min(known, key=lambda pair: pair[0])
    return one, value


def _impossible(field: str, value: object, expected: str) -> FulcrumError:
    return FailedPrecondition(field, value, expected, reason="OBJECTIVE_IMPOSSIBLE")
