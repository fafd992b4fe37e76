"""Who may answer while the router is away: whom the router itself would let."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.chassis.errors import FailedPrecondition, InvalidField
from services.edge.chat import Objective, Request, Sampling, Tool
from services.edge.messages import catalogue_model
from services.edge.ports import Speed
from services.edge.stand_in import by_strength
from services.router.catalogue import Catalogue
from services.router.eligibility import Eligibility
from services.router.prices import MachinePrice
from services.router.query import Objective as RouterObjective
from services.router.query import Query
from services.router.service import _catalogue_model
from services.router.speed import Speed as RouterSpeed
from tests.unit.edge.parts import request
from tests.unit.router.parts import model

_EXPECTED = 100
MODELS = Catalogue(
    [
        model("strong", 10, is_default=True, context_tokens=4000, supports_tools=True),
        model("list", 1, bytes_per_token=3.0, expected_output_tokens=700, speed=RouterSpeed(0.5, 50)),
        model("machine", None, price=MachinePrice(3.6, 100.0, 1000.0), context_tokens=300),
        model("unpriced", None, supports_tools=True, context_tokens=2000),
    ]
)
LIMITED = Eligibility(MODELS, _EXPECTED)
KNOWN = tuple(catalogue_model(_catalogue_model(one)) for one in LIMITED.models)
NAMES = st.lists(st.sampled_from(MODELS.names), unique=True, max_size=3).map(tuple)
LIMITS: dict[str, Any] = {
    "max_cost_nano_usd": st.none() | st.integers(0, 5_000_000),
    "max_latency_s": st.none() | st.floats(0.01, 5.0),
    "allowed_models": NAMES,
    "denied_models": NAMES,
}


def by_router(asked: Request, measured: dict[str, Speed]) -> set[str]:
    """Whom the router would let answer; raises as it does."""
    limits = {name: getattr(asked.objective, name) for name in LIMITS}
    query = Query(
        text=asked.text,
        objective=RouterObjective(0.02, **limits),
        input_bytes=asked.size_bytes,
        max_output_tokens=asked.sampling.max_output_tokens,
        needs_tools=bool(asked.tools),
        speeds={name: RouterSpeed(one.first_token_s, one.output_tokens_per_second) for name, one in measured.items()},
    )
    return set(LIMITED.candidates(query).names)


@given(
    size=st.integers(1, 3000),
    most=st.none() | st.integers(1, 2000),
    tools=st.booleans(),
    limits=st.fixed_dictionaries(LIMITS),
    measured=st.dictionaries(st.sampled_from(MODELS.names), st.just(Speed(0.1, 1000)), max_size=2),
)
def test_the_same_limits_hold(
    size: int, most: int | None, tools: bool, limits: dict[str, Any], measured: dict[str, Speed]
) -> None:
    """Names, tools, context, cost and time leave the models that they leave in the router, the strong one first."""
    asked = request("x" * size, objective=Objective(**limits), sampling=Sampling(max_output_tokens=most))
    if tools:
        asked = request(asked.text, objective=asked.objective, sampling=asked.sampling, tools=(Tool("f", "", "{}"),))
    left = [one.name for one in by_strength(KNOWN, asked, measured)]
    try:
        expected = by_router(asked, measured)
    except (FailedPrecondition, InvalidField):
        # the limits of the objective leave none, or a model is left to say what it lacks
        assert all(asked.objective.allows(name) for name in left)
        return
    assert set(left) == expected
    assert "strong" not in expected or left[0] == "strong"


def test_a_model_says_itself_what_it_lacks() -> None:
    """Where no model takes the prompt, by an estimate of its tokens, the strong one is asked, and says so exactly."""
    assert next(iter(by_strength(KNOWN, request("x" * 20_000), {}))).name == "strong"
    tight = request("x" * 20_000, objective=Objective(max_cost_nano_usd=1))
    assert by_strength(KNOWN, tight, {}) == []


def test_the_dearest_stands_in_for_the_strong_model() -> None:
    """As nothing is predicted, price is all there is to judge by."""
    left = by_strength(KNOWN, request(objective=Objective(denied_models=("strong",))), {})
    assert [one.name for one in left] == ["list", "machine", "unpriced"]
