"""Who may answer, and what it is expected to cost and take: as the model's own price says, whatever was asked."""

from hypothesis import given
from hypothesis import strategies as st

from services.router.catalogue import Catalogue, Model
from services.router.eligibility import Eligibility
from services.router.goals import MEASURES, better
from services.router.policy import Policy
from services.router.predictor import Prediction
from services.router.prices import ListPrice, MachinePrice, Price, PriceTier
from services.router.query import Goal
from services.router.speed import Speed
from tests.unit.router.parts import model, policy, query

SAID = 100  # tokens of an answer, where a model does not say
AMOUNTS = st.floats(0, 1e4)


@st.composite
def prices(draw: st.DrawFn) -> Price | None:
    fresh, cached, written, answer = (draw(AMOUNTS) for _ in range(4))
    listed = ListPrice(fresh, cached, written, answer)
    tiered = ListPrice(fresh, cached, written, answer, (PriceTier(450, fresh * 2, cached, written, answer * 3),))
    return draw(st.sampled_from([None, listed, tiered, MachinePrice(fresh, cached, answer)]))


@st.composite
def models(draw: st.DrawFn) -> list[Model]:
    said, speeds = st.none() | st.integers(1, 300), st.none() | st.just(Speed(0.5, 40.0))
    return [
        model(
            name,
            None,
            price=draw(prices()),
            bytes_per_token=draw(st.sampled_from([1.0, 3.7, 4.0])),
            expected_output_tokens=draw(said),
            speed=draw(speeds),
            is_default=name == "a",
            context_tokens=10_000,
        )
        for name in "abcd"
    ]


@given(
    models(),
    st.just(0) | st.integers(1, 900),
    st.integers(1, 3000),
    st.none() | st.integers(1, 300),
    st.sampled_from(["", "a", "b"]),
    st.integers(0, 1200),
    st.sampled_from([(), ("b", "c"), ("a",)]),
)
def test_what_each_costs_and_takes(
    known: list[Model], tokens: int, size: int, most: int | None, current: str, held: int, allowed: tuple[str, ...]
) -> None:
    """To the last nano-dollar, of those named alone; only the model of the session holds a part of the prompt."""
    asked = query(
        input_tokens=tokens,
        input_bytes=size,
        max_output_tokens=most,
        current_model=current,
        cached_prefix_tokens=held,
        allowed_models=allowed,
    )
    found = Eligibility(Catalogue(known), SAID).candidates(asked)
    fresh, cost, seconds = {}, {}, {}
    for one in known:
        counted = tokens or max(round(size / one.bytes_per_token), 1)
        said = min(one.expected_output_tokens or SAID, most or 10**9)
        holds = held if one.name == current else 0
        if one.name in (allowed or "abcd"):
            fresh[one.name], cost[one.name] = (one.cost_nano_usd(counted, said, cached) for cached in (0, holds))
            if one.speed:
                seconds[one.name] = one.speed.seconds(said)
            elif isinstance(one.price, MachinePrice):
                seconds[one.name] = one.price.seconds(counted, said, min(holds, counted))
    assert set(found.names) == set(allowed or "abcd")
    assert found.fresh_cost_nano_usd == {name: usd for name, usd in fresh.items() if usd is not None}
    assert found.cost_nano_usd == {name: usd for name, usd in cost.items() if usd is not None}
    assert found.seconds == seconds


def test_the_unpriced_rank_behind_the_priced() -> None:
    """Where nothing is predicted: the default, then the dearest, then those of unknown cost."""
    plan = policy(model("unpriced", None)).plan(query())
    assert [one.model for one in plan.models] == ["large", "middle", "small", "unpriced"]


def test_of_two_at_one_price_the_stronger_comes_first() -> None:
    """Those better than the strongest by a goal are sorted by it, and ties by what is predicted of them."""
    made = Catalogue([model("large", 10, is_default=True), *(model(name, 1) for name in ("good", "better", "bad"))])
    quality = {"good": 0.5, "better": 0.9, "bad": 0.1, "large": 1.0}
    prediction = Prediction(quality, dict.fromkeys(quality, 0.0), "")
    deciding = Policy(Eligibility(made, SAID), None)
    ranked = deciding._by_strength(deciding._eligibility.candidates(query()), prediction)
    assert better(MEASURES[Goal.CHEAPEST], ranked, prediction) == ["better", "good", "bad"]
